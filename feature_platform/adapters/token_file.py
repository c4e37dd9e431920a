"""The file of bearer tokens, one ``name token`` a line: a feature server lets its holders ask, and a client sends the first.

``#`` begins a comment. A holder may have two tokens, so that it can change from one to the other. Comparing them does not belong here.
"""

from pathlib import Path
from typing import Final

from feature_platform.errors import ConfigurationError

_MIN_LENGTH: Final = 16


def read_tokens(path: Path) -> list[tuple[str, str]]:
    """Holder and token of each line, in the order of the file; at least one.

    Raises:
        ConfigurationError: The file cannot be read, has no token, or a line that is none; the message names lines, never tokens.
    """
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
        known.append((words[0], words[1]))
    if faults or not known:
        raise ConfigurationError(f"The token file {path} cannot be used:", faults or ["expected at least one token, found none"])
    return known
