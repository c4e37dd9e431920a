"""Validate a source's days: those asked for, and those of a window that nobody validated yet. Judging rows belongs to the engine."""

from collections.abc import Callable

from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.errors import NotFoundError
from feature_platform.ports.platform import Platform


def validate(platform: Platform, source: SourceContract, partition: str) -> ValidatedDay:
    """Judge every raw row of one day and write what was kept and what was not.

    Raises:
        NotFoundError: Upstream delivered nothing for the day.
        InvalidDataError: Objects cannot be read, or too many rows are bad.
        ConflictError: An object changed while it was read.
    """
    return platform.engine.validate(source, platform.raw.discover(source, partition))


def validated(
    platform: Platform, source: SourceContract, partition: str, *, on_validated: Callable[[ValidatedDay], object]
) -> ValidatedDay | None:
    """A day as it was validated; validated here and now where upstream has it and nobody did yet, None where upstream has nothing.

    Without this a single partition could be built only after its whole window was, or would silently lack days that exist.

    Args:
        platform: The environment.
        source: The source.
        partition: The day.
        on_validated: Hears of a day that had to be validated now.
    """
    day = platform.engine.read_day(source, partition)
    if day is not None and day.source_hash == source.schema_hash:
        return day
    try:
        day = validate(platform, source, partition)
    except NotFoundError:
        return None
    on_validated(day)
    return day
