"""Validate a source's days: those asked for, and those of a window that are not validated as they are now. Judging rows is the engine's."""

from collections.abc import Callable

from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import format_of
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
    """A day as upstream has it now: the copy that was validated from these very objects, or validated here and now.

    None where upstream has nothing, also where an older copy lies there: what upstream took back must not live on in features. One
    listing decides, by key and ETag. Without this a single partition could be built only after its whole window was, and a corrected day
    would reach the versions of its own partition alone.

    Args:
        platform: The environment.
        source: The source.
        partition: The day.
        on_validated: Hears of a day that had to be validated now.

    Raises:
        InvalidDataError: The day as it is now cannot be read, or too many rows are bad.
        ConflictError: An object changed while it was read.
    """
    present = raw_pins(platform, source.source, partition)
    if not present:
        return None
    day = platform.engine.read_day(source, partition)
    if day is not None and day.source_hash == source.schema_hash and {(item.uri, item.etag) for item in day.raw.objects} == present:
        return day
    try:
        day = validate(platform, source, partition)
    except NotFoundError:
        return None  # they went between the listing and the reading
    on_validated(day)
    return day


def first_day(platform: Platform, source: SourceContract) -> str:
    """The first day that a source can have data of, ``YYYY-MM-DD``: its own, or the environment's where that is later."""
    return max(platform.first_day.isoformat(), source.first_day or "")


def raw_pins(platform: Platform, source: str, partition: str) -> frozenset[tuple[str, str]]:
    """URI and ETag of every raw object of a day that holds data, by one listing."""
    return frozenset((info.uri, info.etag) for info in platform.raw.listed(source, partition) if format_of(info.uri) is not None)
