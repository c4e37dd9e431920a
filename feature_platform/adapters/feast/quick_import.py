"""Feast's import without what its decorators do to its classes. Using Feast does not belong here.

Typeguard's ``typechecked`` compiles each decorated class of Feast again, to check the types of arguments at run time: measured, more than
half of the seconds that Feast takes to import. Feast's objects are made in ``objects`` alone, which mypy and the tests hold.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typeguard


@contextmanager
def without_instrumentation() -> Iterator[None]:
    """While the block runs, classes are decorated without being compiled again; modules imported before and after are as they were."""
    original = typeguard.typechecked
    typeguard.typechecked = _as_it_is  # type: ignore[assignment]
    try:
        yield
    finally:
        typeguard.typechecked = original


def _as_it_is(target: Any = None, **_: Any) -> Any | Callable[[Any], Any]:
    """The decorator, and what it is when it is called with options."""
    return _as_it_is if target is None else target
