"""Validate a source's days: those asked for, and changed ones of a window. Judging rows does not belong here (the compute engine)."""

from collections.abc import Callable
from datetime import UTC, datetime

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest, format_of, incomplete
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.errors import ConflictError, InvalidDataError, NotFoundError
from feature_platform.ports.platform import Platform


def validate(platform: Platform, source: SourceContract, partition: str) -> ValidatedDay:
    """Judge every raw row of one day; write the valid rows, and the others with their reasons.

    Raises:
        NotFoundError: Upstream delivered nothing for the day, or not all of it yet.
        InvalidDataError: Objects cannot be read, or too many rows are bad.
        ConflictError: An object changed while it was read.
    """
    return platform.engine.validate(source, discover(platform, source, partition))


def discover(platform: Platform, source: SourceContract, partition: str) -> RawManifest:
    """The raw objects of a day whose delivery is complete; raises as :func:`validate` does."""
    listed = platform.raw.listed(source.source, partition) if source.complete_when else ()
    if why := incomplete(listed, source.complete_when, now=datetime.now(UTC)):
        raise NotFoundError(f"Source {source.source!r} for {partition} is not delivered completely: {why}. It is built when it is.")
    return platform.raw.discover(source, partition)


def validated(
    platform: Platform, source: SourceContract, partition: str, *, on_validated: Callable[[ValidatedDay], object]
) -> ValidatedDay | None:
    """A day as upstream has it now: the copy that was validated from exactly these objects, or one that is validated now.

    While a delivery is not complete, the copy from before is returned if this source contract validated it. None where upstream has no
    objects, even if there is an older copy: data that upstream deleted must not stay in features. One listing decides, by key and ETag.
    Without this function a partition could be built only after every day of its window was validated, and a corrected day would change the
    version of its own partition alone.

    Args:
        platform: The environment.
        source: The source.
        partition: The day.
        on_validated: Called with a day that had to be validated now.

    Raises:
        InvalidDataError: The day as it is now cannot be read, or too many rows are bad.
        ConflictError: An object changed while it was read.
    """
    present = raw_pins(platform, source, partition)
    if present is not None and not present:
        return None
    day = day_if_whole(platform, source, partition)
    is_current = day is not None and day.source_hash == source.schema_hash
    if present is None:
        return day if is_current else None
    if day is not None and is_current and {(item.uri, item.etag) for item in day.raw.objects} == present:
        return day
    try:
        day = validate(platform, source, partition)
    except NotFoundError as error:
        now_present = raw_pins(platform, source, partition)
        if now_present:
            raise ConflictError(f"Raw objects of {source.source!r} for {partition} changed while they were read; run again.") from error
        return day if now_present is None and is_current else None
    on_validated(day)
    return day


def day_if_whole(platform: Platform, source: SourceContract, partition: str) -> ValidatedDay | None:
    """The day as it was validated; None also where its manifest is damaged or another release's: validating it again mends that."""
    try:
        return platform.engine.read_day(source, partition)
    except InvalidDataError:
        return None


def first_day(platform: Platform, source: SourceContract) -> str:
    """The first day that can have data of a source, ``YYYY-MM-DD``: the source's own, or the environment's where that is later."""
    return max(platform.first_day.isoformat(), source.first_day or "")


def begins(platform: Platform, contract: Contract) -> str:
    """The first day that a feature set can have a version of: the latest first day of its sources and of the sets that it reads."""
    read = [begins(platform, platform.catalog.contract(name)) for name in contract.feature_sets]
    return max(*(first_day(platform, source) for source in platform.catalog.sources_of(contract)), *read, "")


def raw_pins(platform: Platform, source: SourceContract, partition: str) -> frozenset[tuple[str, str]] | None:
    """URI and ETag of every raw object of a day that holds data, by one listing; None while its delivery is not complete."""
    listed = platform.raw.listed(source.source, partition)
    if incomplete(listed, source.complete_when, now=datetime.now(UTC)):
        return None
    return frozenset((info.uri, info.etag) for info in listed if format_of(info.uri) is not None)
