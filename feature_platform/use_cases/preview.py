"""Build one day of a feature set in memory, to see what a contract gives. Committing it does not belong here (``use_cases.commit``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from feature_platform.core import layout
from feature_platform.core.compute.tiles import Window
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.errors import NotFoundError
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.inputs import choose, opened


@dataclass(frozen=True, slots=True)
class Preview:
    """The rows of one partition, the days that they were computed from, and the days of the window without raw objects."""

    table: pa.Table
    days: Sequence[ValidatedDay]
    missing: Sequence[str]

    @property
    def nulls(self) -> Mapping[str, int]:
        """Column → how many rows have no value in it."""
        return {name: self.table.column(name).null_count for name in self.table.column_names}


def preview(platform: Platform, contract: Contract, partition: str) -> Preview:
    """Validate the raw objects of a partition's window and build its rows; nothing is written to the store.

    Raises:
        NotFoundError: Upstream delivered nothing for the partition itself.
        InvalidDataError: A day cannot be read, too many of its rows are bad, or the rows break the contract.
        ContractError: The SQL transform cannot be run.
    """
    moment = layout.as_of(partition)
    read = [(part, key) for part in contract.parts for key in layout.window_partitions(moment, days=part.window_days)]
    inputs = opened(platform, choose(platform, contract, moment))
    recorded = {info.uri for part, key in read for info in platform.raw.listed(part.source, key)}
    recorded |= {item.file.uri for item in inputs if item.file}
    bench = platform.bench(platform.raw.uri, recorded)
    days, missing = [], []
    for part, key in read:
        source = platform.catalog.source_of(part)
        try:
            days.append(bench.engine.validate(source, bench.raw.discover(source, key)))
        except NotFoundError:
            if key == partition:
                raise
            missing.append(part.day_name(key))
    windows = [Window(source, [day for day in days if day.source == source.source]) for source in platform.catalog.sources_of(contract)]
    table = bench.engine.build(contract, windows, as_of=moment, inputs=inputs)
    return Preview(table.to_arrow(), days, missing)
