"""Iterators that run in threads of their own, so that reading continues while earlier items are processed.

What is read does not belong here. Threads help because decompression, parsing and the engine all release Python's interpreter lock.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, Queue
from typing import Final, Generic, TypeVar

T = TypeVar("T")

WAITING: Final = 2
"""Items that may wait for each thread; it bounds the memory of reading ahead."""


class _End:
    """The last item of a thread: it has nothing more, or stopped by an error."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Readers(Generic[T]):
    """Threads that each take the next source, read it to its end, and put what they read into one bounded queue."""

    def __init__(self, sources: Sequence[Callable[[], Iterator[T]]], *, threads: int) -> None:
        self._sources = iter(enumerate(sources))
        self._lock, self._is_stopped = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(min(threads, len(sources)))]
        self._items: Queue[tuple[int, T] | _End] = Queue(maxsize=max(1, len(self._threads) * WAITING))

    def items(self) -> Iterator[tuple[int, T]]:
        for thread in self._threads:
            thread.start()
        running = len(self._threads)
        while running:
            item = self._items.get()
            if not isinstance(item, _End):
                yield item
            elif item.error is not None:
                raise item.error
            else:
                running -= 1

    def stop(self) -> None:
        """End the threads, also in the middle of a source, and wait for them."""
        self._is_stopped.set()
        for thread in self._threads:
            while thread.is_alive():
                try:
                    self._items.get(timeout=0.05)  # a thread may be waiting to put something
                except Empty:
                    continue

    def _run(self) -> None:
        try:
            while (source := self._next()) is not None:
                place, read = source
                for item in read():
                    self._items.put((place, item))
                    if self._is_stopped.is_set():
                        return
        except BaseException as error:  # noqa: BLE001  it is raised where the items are taken
            self._items.put(_End(error))
        else:
            self._items.put(_End())

    def _next(self) -> tuple[int, Callable[[], Iterator[T]]] | None:
        with self._lock:
            return next(self._sources, None)


@contextmanager
def read_ahead(sources: Sequence[Callable[[], Iterator[T]]], *, threads: int) -> Iterator[Iterator[tuple[int, T]]]:
    """The items of the sources, each with its source's place, in each source's order; sources are read in parallel.

    An error of a source is raised where its item would have been. Leaving the block ends the threads.

    Args:
        sources: Each starts an iterator, which one thread runs from start to end.
    """
    readers = _Readers(sources, threads=threads)
    try:
        yield readers.items()
    finally:
        readers.stop()
