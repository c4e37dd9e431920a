"""Iterators that run ahead in threads: order, errors, bounds, and that no thread stays behind."""

import threading
from collections.abc import Iterator

import pytest

from feature_platform.adapters.events.read_ahead import WAITING, read_ahead


def test_every_item_comes_once_in_the_order_of_its_source() -> None:
    with read_ahead([lambda n=n: iter(range(n)) for n in (50, 0, 7)], threads=2) as items:
        found = list(items)
    assert [[item for place, item in found if place == source] for source in range(3)] == [list(range(50)), [], list(range(7))]


def test_an_error_of_a_source_is_raised_to_who_takes_its_items() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("torn")

    taken = []
    with pytest.raises(ValueError, match="torn"), read_ahead([broken], threads=1) as items:
        taken.extend(items)
    assert taken == [(0, 1)]


def test_no_more_than_the_bound_is_read_before_it_is_taken_and_leaving_early_ends_the_threads() -> None:
    read: list[int] = []
    full = threading.Event()

    def endless() -> Iterator[int]:
        while True:
            read.append(len(read))
            if len(read) > WAITING + 1:
                full.set()
            yield read[-1]

    with read_ahead([endless], threads=1) as items:
        assert next(items) == (0, 0)
        assert full.wait(30)
        assert len(read) <= 1 + WAITING + 1
    assert not [thread for thread in threading.enumerate() if thread.daemon and "_run" in thread.name]


def test_nothing_to_read_is_no_item() -> None:
    with read_ahead([], threads=2) as items:
        assert list(items) == []
