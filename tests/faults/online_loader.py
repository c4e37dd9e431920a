"""A load in a process of its own, which a test stops, freezes and kills between any two steps."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from feature_platform.adapters.online_store import published_file as online_source
from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.errors import FeaturePlatformError
from tests.support.online import Publications

LEASE_S = 0.4
"""Short, so that a killed load is given up soon."""

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


class Loader:
    """A running load; it tells about itself step by step: ``start``, rows written, then ``done`` or the name of an error."""

    def __init__(self, process: BaseProcess, steps: "Connection[str, str]") -> None:
        self.process, self._steps = process, steps

    def step(self) -> str | None:
        """The next step; None where the process ended."""
        try:
            return self._steps.recv() if self._steps.poll(30) else None
        except EOFError:
            return None

    def after(self, steps: int) -> str | None:
        """Let that many steps pass; the last one."""
        last = None
        for _ in range(steps):
            last = self.step()
            if last is None:
                return None
        return last

    def end(self) -> str | None:
        """The last step of all."""
        last = None
        while (step := self.step()) is not None:
            last = step
        return last


@contextmanager
def loader(connection_string: str, log: Publications, version: str, sequence: int, *, batch_rows: int = 100) -> Iterator[Loader]:
    """Load one publication in another process, killed at the end if it still runs."""
    steps, child = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=_load, args=(child, connection_string, log.files, version, sequence, batch_rows))
    process.start()
    child.close()
    try:
        yield Loader(process, steps)
    finally:
        process.kill()
        process.join()
        steps.close()


def _load(
    steps: "Connection[str, str]", connection_string: str, files: dict[str, bytes], version: str, sequence: int, batch_rows: int
) -> None:
    online_source.BATCH_ROWS = batch_rows  # type: ignore[misc]  # many steps from few rows
    request = Publications(files=files).request(version, sequence=sequence)
    steps.send("start")
    try:
        store = RedisOnlineStore(connection_string, lease_s=LEASE_S)
        store.load(request, progress=lambda done, _: steps.send(str(done)))
        steps.send("done")
    except FeaturePlatformError as error:
        steps.send(type(error).__name__)
