"""Who runs this process. What an actor may do does not belong here."""

import getpass
import os


def actor() -> str:
    """The name that the log keeps of whoever runs this process, or ``uid N`` for a number that the system knows no name of.

    A container of an arbitrary user has no entry in ``/etc/passwd`` and often no variable ``USER``.
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return f"uid {os.getuid()}"
