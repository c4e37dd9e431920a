"""``GET /catalog``: the catalogue as a page, made on request and kept for some seconds. What it shows belongs to ``use_cases.catalogue``.

It is made in a process of its own, because comparing the registry imports Feast: eight seconds of a core and 200 MB that would delay a
worker's other requests.
"""

import asyncio
import logging
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from feature_platform.errors import FeaturePlatformError, StorageError

KEPT_S: Final = 10.0
"""How long a page, or the failure to make one, is kept as the answer."""

MAKE_S: Final = 120.0
WAITING: Final = 8
"""How many requests may wait for the page: they count towards a worker's limit, and must leave room for requests for features."""

MODULE: Final = (sys.executable, "-m", "feature_platform.server.catalogue")
_NICENESS: Final = 10
_log = logging.getLogger("feature_platform.server.catalogue")  # the name is __main__ where the page is made


class Catalogue:
    """The page of one worker.

    Args:
        command: Prints the page, or exits with a code other than 0.
    """

    def __init__(self, command: Sequence[str] = MODULE) -> None:
        self._command = command
        self._making: asyncio.Task[bytes] | None = None
        self._made_s = 0.0
        self._waiting = 0

    async def page(self) -> bytes:
        """The page as HTML; whoever asks while it is made gets the same one.

        Raises:
            StorageError: It cannot be made, or too many wait for it. The reason is logged, and not in the error, which clients see.
        """
        if self._making is None or (self._making.done() and time.monotonic() - self._made_s > KEPT_S):
            self._making = asyncio.create_task(self._made())
        if self._waiting >= WAITING:
            raise StorageError("Too many wait for the catalogue. Try again.")
        self._waiting += 1
        try:
            return await asyncio.shield(self._making)
        finally:
            self._waiting -= 1

    async def _made(self) -> bytes:
        process = await asyncio.create_subprocess_exec(*self._command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(MAKE_S):
                body, _ = await process.communicate()
            if process.returncode == 0:
                return body
        except TimeoutError:
            _log.error("The catalogue was not made in %.0f s.", MAKE_S)
        finally:
            self._made_s = time.monotonic()
            if process.returncode is None:
                process.kill()
                await process.wait()
        raise StorageError("The catalogue cannot be made now; the server's log says why. Try again.")


def main() -> None:
    """Print the page of the environment that the variables name; at a low priority, so that requests for features go first."""
    os.nice(_NICENESS)
    from feature_platform.adapters.logs import configure_logs
    from feature_platform.adapters.report import page
    from feature_platform.settings import logs_are_json
    from feature_platform.use_cases.catalogue import catalogue
    from feature_platform.wiring import open_platform, s3_at

    configure_logs(is_json=logs_are_json())
    try:
        platform, now = open_platform(objects=s3_at(patience_s=2)), datetime.now(UTC)
        sys.stdout.write(page(catalogue(platform, now=now), environment=platform.settings.env, now=now))
    except FeaturePlatformError as error:
        _log.error("The catalogue cannot be made. %s", error)
        sys.exit(1)


if __name__ == "__main__":
    main()
