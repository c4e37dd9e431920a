"""Build one partition of a feature set: which days its window reads, and where its rows came from. Computing belongs to the engine."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from importlib.metadata import version as installed_version

from feature_platform.core import layout
from feature_platform.core.compute.tiles import Block, Tile, WindowPlan, block_of, blocks_of, has_tiles, plan_window
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.core.publishing.publication import CommittedVersion
from feature_platform.core.versions.feature_table import FeatureTable
from feature_platform.core.versions.metadata import Provenance, SourceObject
from feature_platform.errors import ConflictError, InvalidDataError, NotFoundError
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.validate import first_day, validated


@dataclass(frozen=True, slots=True)
class FeatureBuild:
    """One partition's rows, the moment they are true as of, where they came from, and how the window was read."""

    table: FeatureTable
    as_of: datetime
    provenance: Provenance
    window: WindowPlan


FeatureBuilds = Mapping[str, FeatureBuild | CommittedVersion]
"""Partition key → build, or the version that stands and was not built again; one entry for each partition that a run covers."""


def code_version() -> str:
    """The release that builds."""
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
    """The rows of one partition, from the validated events of its window or from what was kept of its days, whichever takes less.

    Args:
        platform: The environment.
        contract: The feature set.
        partition: The day whose end is the as-of moment.
        run_id: Which run builds; recorded in the metadata.
        on_validated: Hears of days of the window that had to be validated now.
        versions: How many versions the run builds.

    Raises:
        NotFoundError: Upstream delivered nothing for the partition itself.
        InvalidDataError: The window lacks a day and the contract refuses that, or the rows break the contract.
    """
    source, moment = platform.catalog.source_of(contract), layout.as_of(partition)
    window = layout.window_partitions(moment, days=contract.window_days)
    first = first_day(platform, source)
    possible = [key for key in window if key >= first or key == partition]
    own = validated(platform, source, partition, on_validated=on_validated)
    if own is None:
        raise _undelivered(contract, partition)
    found = {key: own if key == partition else validated(platform, source, key, on_validated=on_validated) for key in possible}
    missing = [key for key, day in found.items() if day is None]
    if missing and contract.missing_days == "refuse":
        raise InvalidDataError(
            f"{contract.feature_set} {partition}: the window lacks {', '.join(missing)} of source {source.source!r}; expected every day "
            f"since {max(first, window[0])} (missing_days: refuse). Have upstream deliver them, or let the contract warn."
        )
    earlier = [key for key in window if key not in found]
    provenance = _provenance(contract, source, found, earlier=earlier, run_id=run_id)
    days = [day for day in found.values() if day is not None]
    table, plan = _computed(platform, contract, source, days, as_of=moment, versions=versions)
    return FeatureBuild(table, moment, provenance, plan)


def _computed(
    platform: Platform, contract: Contract, source: SourceContract, days: Sequence[ValidatedDay], *, as_of: datetime, versions: int
) -> tuple[FeatureTable, WindowPlan]:
    plan, blocks, found = plan_build(platform, contract, source, days, as_of=as_of, versions=versions)
    if plan.from_tiles:
        try:
            tiles = [_tile(platform, contract, source, block, found) for block in blocks]
            return platform.engine.build(contract, source, as_of=as_of, days=days, tiles=tiles), plan
        except (ConflictError, InvalidDataError, NotFoundError) as error:
            # What was kept can be lost or damaged; the events are the truth, and what is wrong with them they say themselves.
            plan = WindowPlan(from_tiles=False, why=f"its tiles cannot be used: {error}")
    return platform.engine.build(contract, source, as_of=as_of, days=days), plan


def plan_build(
    platform: Platform, contract: Contract, source: SourceContract, days: Sequence[ValidatedDay], *, as_of: datetime, versions: int
) -> tuple[WindowPlan, Sequence[Block], Mapping[Block, Tile]]:
    """How a window of these days is read, the blocks that it is made of, and the tiles there are of them or of their parts."""
    if not has_tiles(contract):
        why = "a SQL transform reads events" if contract.sql else "no window is longer than a day, so each is read once"
        return WindowPlan(from_tiles=False, why=why), (), {}
    blocks = blocks_of(contract, days, end=as_of.date())
    found: dict[Block, Tile] = {}
    waiting = list(blocks)
    while waiting:
        block = waiting.pop()
        tile = platform.engine.find_tile(contract, source, block)
        if tile is None:
            waiting += block.parts()
        else:
            found[block] = tile
    return plan_window(days, found, versions=versions), blocks, found


def _tile(platform: Platform, contract: Contract, source: SourceContract, block: Block, found: Mapping[Block, Tile]) -> Tile:
    """The tile of a block: the one that was found, or one made now."""
    if block in found:
        return found[block]
    parts = [_tile(platform, contract, source, part, found) for part in block.parts()]
    return platform.engine.make_tile(contract, source, block, parts=parts)


def keep(platform: Platform, contract: Contract, partition: str, *, on_validated: Callable[[ValidatedDay], object]) -> Tile:
    """The tile of one day as upstream has it now: the one there is, or one made now.

    Raises:
        NotFoundError: Upstream delivered nothing for the day.
        InvalidDataError: The day cannot be read or aggregated.
    """
    source = platform.catalog.source_of(contract)
    day = validated(platform, source, partition, on_validated=on_validated)
    if day is None:
        raise _undelivered(contract, partition)
    block = block_of(date.fromisoformat(partition), 1, [day])
    return platform.engine.find_tile(contract, source, block) or platform.engine.make_tile(contract, source, block)


def _undelivered(contract: Contract, partition: str) -> NotFoundError:
    return NotFoundError(
        f"{contract.feature_set} {partition}: source {contract.source!r} has no raw objects for that day, or not all of them "
        "yet (complete_when); expected at least one. Have upstream deliver the day."
    )


def _provenance(
    contract: Contract, source: SourceContract, window: Mapping[str, ValidatedDay | None], *, earlier: Sequence[str], run_id: str
) -> Provenance:
    days = [day for day in window.values() if day is not None]
    return Provenance(
        sources=[SourceObject(o.uri, o.etag, o.size_bytes, day.partition) for day in days for o in day.raw.objects],
        partitions=[day.partition for day in days],
        missing_partitions=[key for key, day in window.items() if day is None],
        earlier_partitions=earlier,
        code_version=code_version(),
        run_id=run_id,
        extra={"source_hash": source.schema_hash, "sql_hash": contract.sql_hash},
    )
