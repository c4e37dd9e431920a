"""Feast's own server as a child process, started when a request first needs it, and the requests that are passed on to it.

A process of its own, because importing Feast takes eight seconds of a core and 200 MB: in this process it would make every other request
wait. What it runs is ``feast_child``. Which requests need it does not belong here (``plans``).
"""

import asyncio
import contextlib
import logging
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feature_platform.errors import StorageError
from feature_platform.server.answer_counts import FEATURES_PATH

START_S: Final = 120.0
"""How long the child may take until it answers; ten seconds on two idle cores, more on busy ones."""

ANSWER_S: Final = 30.0
CONCURRENT: Final = 8
"""Requests under way in the child; its own pace is some hundred a second, so more would only queue."""

_RETRY_S: Final = 0.05
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FeastAnswer:
    """Feast's answer to one request, as it gave it."""

    status: int
    body: bytes
    content_type: bytes


class FeastProcess:
    """Feast's server, on demand. One that dies is started again by the next request."""

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="feature-server-", ignore_cleanup_errors=True)
        self._socket = Path(self._directory.name) / "feast.sock"
        self._process: asyncio.subprocess.Process | None = None
        self._starting: asyncio.Task[None] | None = None
        self._slots = asyncio.Semaphore(CONCURRENT)

    @property
    def is_busy(self) -> bool:
        """Whether a further request would have to queue."""
        return self._slots.locked()

    async def post(self, path: str, body: bytes) -> FeastAnswer:
        """Pass one request on.

        Raises:
            StorageError: The child did not start or did not answer in time.
        """
        async with self._slots:
            try:
                await self._started()
                asked = self._process
                try:
                    return await self._asked(path, body)
                except TimeoutError:
                    raise
                except (OSError, EOFError) as error:
                    if path != FEATURES_PATH and not isinstance(error, ConnectionRefusedError):
                        raise  # what the child wrote before it died must not be written twice
                    await self._restarted(asked)
                    return await self._asked(path, body)
            except (TimeoutError, OSError, EOFError, ValueError) as error:
                raise StorageError(f"Feast's own server, which this request needs, did not answer: {error!r}. Try again.") from error

    async def _asked(self, path: str, body: bytes) -> FeastAnswer:
        connection = await asyncio.open_unix_connection(self._socket)
        async with asyncio.timeout(ANSWER_S):
            return await _exchange(*connection, path, body)

    async def _restarted(self, asked: asyncio.subprocess.Process | None) -> None:
        """Start the child again where the one that was asked refused or closed the connection: it has died, noticed or not.

        A child that another request has started meanwhile is kept.
        """
        if self._process is not None and self._process is asked and self._starting is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._started()

    async def _started(self) -> None:
        if self._process is not None and self._process.returncode is None and self._starting is None:
            return
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        await asyncio.shield(self._starting)

    async def _start(self) -> None:
        try:
            self._socket.unlink(missing_ok=True)
            _log.info("Starting Feast's own server: a request needs it.")
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "feature_platform.server.feast_child", str(self._socket), stdin=asyncio.subprocess.PIPE
            )
            async with asyncio.timeout(START_S):
                while not await self._is_up():
                    if self._process.returncode is not None:
                        raise ConnectionRefusedError(f"it ended with {self._process.returncode}; see its log")
                    await asyncio.sleep(_RETRY_S)
        finally:
            self._starting = None

    async def _is_up(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(self._socket)
        except OSError:
            return False
        writer.close()
        return True

    async def close(self) -> None:
        if self._starting:
            self._starting.cancel()
        if self._process is not None and self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                async with asyncio.timeout(2):
                    await self._process.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    self._process.kill()
                await self._process.wait()
        self._directory.cleanup()


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes) -> FeastAnswer:
    """One request and its answer on a connection of their own."""
    try:
        head = b"POST %s HTTP/1.1\r\nhost: feast\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % (path.encode(), len(body)) + body)
        status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        answer = await reader.readexactly(int(headers[b"content-length"]))
    except KeyError as error:
        raise ValueError("an answer without its length") from error
    finally:
        writer.close()
    return FeastAnswer(int(status_line.split(b" ")[1]), answer, headers.get(b"content-type", b"application/json"))
