"""Small state files of the embedded servers: written whole or not at all, read by their owner only."""

import json
import os
import tempfile
from pathlib import Path


def write_private(path: Path, content: object, *, replace: bool = True) -> None:
    """Write JSON to a file.

    Raises:
        FileExistsError: There is one already and ``replace`` is false.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made readable by its owner only
    partial = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
        if replace:
            partial.replace(path)
        else:
            path.hardlink_to(partial)
    finally:
        partial.unlink(missing_ok=True)
