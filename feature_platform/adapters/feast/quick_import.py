"""Imports Feast without the run-time type checks of its decorators. Using Feast does not belong here.

Typeguard's ``typechecked`` compiles each decorated class of Feast again, to check the types of arguments at run time; measured, that takes
more than half of Feast's import time. Feast's objects are constructed only in ``objects``, whose types mypy and tests check.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typeguard


@contextmanager
def without_instrumentation() -> Iterator[None]:
    """Within the block, decorated classes are not compiled again; modules that are imported before and after it are not affected."""
    original = typeguard.typechecked
    typeguard.typechecked = _as_it_is  # type: ignore[assignment]
    try:
        yield
    finally:
        typeguard.typechecked = original


def _as_it_is(target: Any = None, **_: Any) -> Any | Callable[[Any], Any]:
    """A decorator that changes nothing; called with options, it returns itself."""
    return _as_it_is if target is None else target
