"""Small state files of this machine, mostly of the embedded servers: written whole or not at all, readable by their owner only.

What a file says does not belong here.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from feature_platform.errors import ConfigurationError


def write_private(path: Path, text: str, *, replace: bool = True) -> None:
    """Write a file that only its owner reads.

    Raises:
        FileExistsError: There is one already and ``replace`` is false.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made readable by its owner only
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        if replace:
            partial.replace(path)
        else:
            path.hardlink_to(partial)
    finally:
        partial.unlink(missing_ok=True)


def kept_secrets(path: Path, draw: Callable[[], Mapping[str, str]]) -> dict[str, str]:
    """The secrets in a file, drawn when they are first needed; processes that ask at the same time get the same ones.

    Raises:
        ConfigurationError: The file exists and holds something else.
    """
    drawn = draw()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            write_private(path, json.dumps(dict(drawn)), replace=False)
    try:
        kept = json.loads(path.read_bytes())
        return {name: str(kept[name]) for name in drawn}
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} does not hold the secrets of an embedded server: expected JSON with {', '.join(drawn)}. Run `feature-platform down`, "
            "remove the file and run `feature-platform up`; the data stays."
        ) from error
