"""Who may ask: bearer tokens from a file that is read again while the server runs. All may ask the same; limits do not belong here.

The file has one token per line, ``name token``, where the name is what the access log calls its holder; ``#`` begins a comment. A holder
may have two tokens, so that it can change from one to the other.
"""

import hashlib
import hmac
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from feature_platform.errors import ConfigurationError

_SCHEME: Final = b"bearer "
_MIN_LENGTH: Final = 16
_log = logging.getLogger(__name__)


class Tokens:
    """The tokens of one file.

    Raises:
        ConfigurationError: The file cannot be read, or has a line that is none; it names lines, never tokens.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._state = _stat(path)
        self._known = _read(path)

    def holder(self, headers: Sequence[tuple[bytes, bytes]]) -> str | None:
        """Whose token a request bears; None where it bears none that is known.

        Tokens are compared by their hashes, and all of them each time, so that the time taken reveals nothing.
        """
        given = next((value for name, value in headers if name == b"authorization"), b"")
        if given[: len(_SCHEME)].lower() != _SCHEME:
            return None
        digest = hashlib.sha256(given[len(_SCHEME) :].strip()).digest()
        found = [name for name, known in self._known if hmac.compare_digest(known, digest)]
        return found[0] if found else None

    def refresh(self) -> None:
        """Read the file again if it changed; where it cannot be used, that is logged and the tokens read before stay valid."""
        try:
            state = _stat(self._path)
            if state != self._state:
                self._known, self._state = _read(self._path), state
                _log.info("Read %d tokens from %s.", len(self._known), self._path)
        except ConfigurationError as error:
            _log.error("The token file cannot be used; the tokens that were read before stay valid. %s", error)


def _stat(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise ConfigurationError(f"The token file {path} cannot be read: {error.strerror}.") from error
    return found.st_mtime_ns, found.st_size, found.st_ino


def _read(path: Path) -> list[tuple[str, bytes]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The token file {path} cannot be read: {type(error).__name__}.") from error
    known, faults = [], []
    for number, line in enumerate(lines, start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or len(words[1]) < _MIN_LENGTH:
            faults.append(f"line {number}: expected a name and a token of at least {_MIN_LENGTH} characters")
            continue
        known.append((words[0], hashlib.sha256(words[1].encode()).digest()))
    if faults or not known:
        raise ConfigurationError(f"The token file {path} cannot be used:", faults or ["expected at least one token, found none"])
    return known
