"""Who may ask: bearer tokens from a file that is read again while the server runs. All may ask the same; limits do not belong here.

The access log calls a token's holder by the name that the file has beside it; reading the file belongs to ``adapters.token_file``.
"""

import hashlib
import hmac
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from feature_platform.adapters.token_file import read_tokens
from feature_platform.errors import ConfigurationError

_SCHEME: Final = b"bearer "
_log = logging.getLogger(__name__)


class Tokens:
    """The tokens of one file.

    Raises:
        ConfigurationError: As :func:`read_tokens`.
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
    return [(name, hashlib.sha256(token.encode()).digest()) for name, token in read_tokens(path)]
