"""Build one partition: which days its window reads, and where its rows came from. Computing does not belong here (the compute engine)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from importlib.metadata import version as installed_version

from feature_platform.core import layout
from feature_platform.core.compute.tiles import Block, Tile, Window, WindowPlan, block_of, blocks_of, has_tiles, plan_window
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.core.publishing.publication import CommittedVersion
from feature_platform.core.versions.feature_table import FeatureTable
from feature_platform.core.versions.metadata import InputVersion, Provenance, SourceObject
from feature_platform.errors import ConflictError, InvalidDataError, NotFoundError
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.inputs import choose, opened
from feature_platform.use_cases.validate import first_day, validated


@dataclass(frozen=True, slots=True)
class FeatureBuild:
    """One partition's rows, the moment they are true as of, where they came from, and how the window was read."""

    table: FeatureTable
    as_of: datetime
    provenance: Provenance
    window: WindowPlan


FeatureBuilds = Mapping[str, FeatureBuild | CommittedVersion]
"""Partition key → build, or the existing version that need not be built again; one entry for each partition that a run covers."""


def code_version() -> str:
    """The installed release, which versions record."""
    return installed_version("feature-platform")


def build(
    platform: Platform,
    contract: Contract,
    partition: str,
    *,
    run_id: str,
    on_validated: Callable[[ValidatedDay], object],
    versions: int = 1,
) -> FeatureBuild:
    """The rows of one partition, from the validated events of its window or from tiles of its days, whichever costs less.

    Args:
        platform: The environment.
        contract: The feature set.
        partition: The day whose end is the as-of moment.
        run_id: Which run builds; recorded in the metadata.
        on_validated: Called with each day of the window that had to be validated now.
        versions: How many versions the run builds.

    Raises:
        NotFoundError: One of the sources has no raw objects for the partition itself, or a set that is read has no version yet.
        InvalidDataError: A window lacks a day and the contract refuses that, or the rows break the contract.
    """
    moment = layout.as_of(partition)
    found = [_found(platform, part, partition, on_validated=on_validated) for part in contract.parts]
    inputs = choose(platform, contract, moment)
    provenance = _provenance(contract, found, inputs, run_id=run_id)
    windows = [Window(one.source, [day for day in one.days.values() if day is not None]) for one in found]
    if contract.sql is not None:
        table = platform.engine.build(contract, windows, as_of=moment, inputs=opened(platform, inputs))
        return FeatureBuild(table, moment, provenance, WindowPlan(from_tiles=False, why="a SQL transform reads events"))
    table, plan = _computed(platform, contract, windows, as_of=moment, versions=versions)
    return FeatureBuild(table, moment, provenance, plan)


@dataclass(frozen=True, slots=True)
class _Found:
    """A part and its source; the days of its window that the source can have, None for a day without data; and earlier days of it."""

    part: Contract
    source: SourceContract
    days: Mapping[str, ValidatedDay | None]
    earlier: Sequence[str]

    @property
    def missing(self) -> list[str]:
        return [self.part.day_name(key) for key, day in self.days.items() if day is None]


def _found(platform: Platform, part: Contract, partition: str, *, on_validated: Callable[[ValidatedDay], object]) -> _Found:
    source = platform.catalog.source_of(part)
    window = layout.window_partitions(layout.as_of(partition), days=part.window_days)
    first = first_day(platform, source)
    possible = [key for key in window if key >= first or key == partition]
    own = validated(platform, source, partition, on_validated=on_validated)
    if own is None:
        raise _undelivered(part, partition)
    days = {key: own if key == partition else validated(platform, source, key, on_validated=on_validated) for key in possible}
    found = _Found(part, source, days, [key for key in window if key not in days])
    if found.missing and part.missing_days == "refuse":
        raise InvalidDataError(
            f"{part.feature_set} {partition}: the window lacks {', '.join(found.missing)} of source {source.source!r}; expected every day "
            f"since {max(first, window[0])} (missing_days: refuse). Have upstream deliver them, or let the contract warn."
        )
    return found


def _computed(
    platform: Platform, contract: Contract, windows: Sequence[Window], *, as_of: datetime, versions: int
) -> tuple[FeatureTable, WindowPlan]:
    planned = [plan_build(platform, part, one, as_of=as_of, versions=versions) for part, one in zip(contract.parts, windows, strict=True)]
    plan = planned[0][0]
    if contract.sources:
        told = "; ".join(f"{name} by {each.told}" for name, (each, _, _) in zip(contract.sources, planned, strict=True))
        plan = WindowPlan(any(each.from_tiles for each, _, _ in planned), told)
    if plan.from_tiles:
        try:
            kept = [
                replace(window, tiles=[_tile(platform, part, window.source, block, found) for block in blocks])
                if each.from_tiles
                else window
                for part, window, (each, blocks, found) in zip(contract.parts, windows, planned, strict=True)
            ]
            return platform.engine.build(contract, kept, as_of=as_of), plan
        except (ConflictError, InvalidDataError, NotFoundError) as error:
            # A tile can be lost or damaged; then the events are read. If the fault is in the events, reading them raises it again.
            plan = WindowPlan(from_tiles=False, why=f"its tiles cannot be used: {error}")
    return platform.engine.build(contract, windows, as_of=as_of), plan


def plan_build(
    platform: Platform, contract: Contract, window: Window, *, as_of: datetime, versions: int
) -> tuple[WindowPlan, Sequence[Block], Mapping[Block, Tile]]:
    """How the window of a part is read, the blocks that it is made of, and the existing tiles of these blocks or of their parts."""
    if not has_tiles(contract):
        return WindowPlan(from_tiles=False, why="no window is longer than a day, so each is read once"), (), {}
    blocks = blocks_of(contract, window.days, end=as_of.date())
    found: dict[Block, Tile] = {}
    waiting = list(blocks)
    while waiting:
        block = waiting.pop()
        tile = platform.engine.find_tile(contract, window.source, block)
        if tile is None:
            waiting += block.parts()
        else:
            found[block] = tile
    return plan_window(window.days, found, versions=versions), blocks, found


def _tile(platform: Platform, contract: Contract, source: SourceContract, block: Block, found: Mapping[Block, Tile]) -> Tile:
    """The tile of a block: the one that was found, or one made now."""
    if block in found:
        return found[block]
    parts = [_tile(platform, contract, source, part, found) for part in block.parts()]
    return platform.engine.make_tile(contract, source, block, parts=parts)


def keep(platform: Platform, contract: Contract, partition: str, *, on_validated: Callable[[ValidatedDay], object]) -> list[Tile]:
    """The tile of one day as upstream has it now, for each source: an existing one, or one that is made now.

    Raises:
        NotFoundError: Upstream delivered nothing for the day.
        InvalidDataError: The day cannot be read or aggregated.
    """
    kept = []
    for part in contract.parts:
        source = platform.catalog.source_of(part)
        day = validated(platform, source, partition, on_validated=on_validated)
        if day is None:
            raise _undelivered(part, partition)
        if has_tiles(part):
            block = block_of(date.fromisoformat(partition), 1, [day])
            kept.append(platform.engine.find_tile(part, source, block) or platform.engine.make_tile(part, source, block))
    return kept


def _undelivered(contract: Contract, partition: str) -> NotFoundError:
    return NotFoundError(
        f"{contract.feature_set} {partition}: source {contract.source!r} has no raw objects for that day, or not all of them "
        "yet (complete_when); expected at least one. Have upstream deliver the day."
    )


def _provenance(contract: Contract, found: Sequence[_Found], inputs: Sequence[InputVersion], *, run_id: str) -> Provenance:
    days = [(one.part.day_name(key), day) for one in found for key, day in one.days.items() if day is not None]
    hashes = {one.source.source: one.source.schema_hash for one in found}
    recorded = {"source_hash": None, "source_hashes": hashes} if contract.sources else {"source_hash": found[0].source.schema_hash}
    return Provenance(
        sources=[SourceObject(o.uri, o.etag, o.size_bytes, name) for name, day in days for o in day.raw.objects],
        partitions=[name for name, _ in days],
        inputs=inputs,
        missing_partitions=[name for one in found for name in one.missing],
        earlier_partitions=[one.part.day_name(key) for one in found for key in one.earlier],
        code_version=code_version(),
        run_id=run_id,
        extra={**recorded, "sql_hash": contract.sql_hash},
    )
