"""The compute engine port: validates raw events and computes features. What is computed does not belong here (``core.compute``)."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

import pyarrow as pa

from feature_platform.core.compute.tiles import Block, InputFile, Tile, Window
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.core.training.lookup import Lookup
from feature_platform.core.training.split import Split
from feature_platform.core.versions.feature_table import FeatureTable


class ComputeEngine(Protocol):
    """Validates raw events and computes features; equal inputs give equal results, on every run and every engine."""

    def validate(self, source: SourceContract, raw: RawManifest) -> ValidatedDay:
        """Judge every raw row of one day; write the valid rows, and the others with their reasons.

        Afterwards ``quarantine/<source>/dt=…/`` and ``validated/<source>/dt=…/`` hold immutable data files and, written last, a
        ``manifest.json`` that names them; readers open only what it names. Rows in = rows kept + rows quarantined.

        Raises:
            InvalidDataError: A raw object cannot be read as a whole (nothing is written), there is no row, or the share of rejected rows
                is above the source's ``max_rejected_ratio`` (the quarantine is written, the validated day stays as it was).
            ConflictError: A raw object changed after the manifest was made; nothing is written.
        """

    def read_day(self, source: SourceContract, partition: str) -> ValidatedDay | None:
        """The validated day as its manifest describes it, or None where the day was never validated.

        Raises:
            InvalidDataError: The manifest is damaged, or another release wrote it in another format.
        """

    def find_tile(self, contract: Contract, source: SourceContract, block: Block) -> Tile | None:
        """The tile of a block that was made from its days as they are validated now, or None where there is none; by one read."""

    def make_tile(self, contract: Contract, source: SourceContract, block: Block, *, parts: Sequence[Tile] = ()) -> Tile:
        """Aggregate validated days as a part of a contract needs them, whatever its windows, and write the tile below ``tiles/<source>/``.

        Args:
            parts: The tiles of ``block.parts()``, to be merged; none for a block of one day, whose events are read.

        Raises:
            InvalidDataError: A value cannot be aggregated.
            ConflictError: A file changed since its day or tile named it.
        """

    def build(self, contract: Contract, windows: Sequence[Window], *, as_of: datetime, inputs: Sequence[InputFile] = ()) -> FeatureTable:
        """Compute a feature set as of a moment from the validated days of its windows, or from their tiles: the rows are equal.

        Args:
            windows: One for each of ``contract.parts``, in their order.
            inputs: For each of ``contract.feature_sets``, the version that the SQL transform reads.

        Returns:
            Rows sorted by primary key, each key once, computed now and kept on local disk until the table is dropped.

        Raises:
            InvalidDataError: A value does not fit the contract, there is no row although ``checks.min_rows`` is above 0, or days do not
                belong to their window.
            ContractError: The contract's SQL transform cannot be run.
            ConflictError: A file of validated events or of a tile changed since its day or tile named it.
        """

    def look_up(
        self, asked: pa.RecordBatchReader, lookups: Sequence[Lookup], *, split: Split | None
    ) -> AbstractContextManager[Sequence[Iterator[pa.RecordBatch]]]:
        """Feature values for label rows, and the part that each row falls into.

        Args:
            asked: Rows of :func:`core.training.lookup.asked_schema`, positions growing from 0.
            split: How rows are divided; None for not at all.

        Returns:
            One stream for each lookup, in the shape of its ``schema``, and one of the parts' names at the end where a split is given:
            every row once, in the order of ``asked``, in batches of any size.

        Raises:
            InvalidDataError: Versions of one feature set cannot be joined with the same columns, or there is too little memory and disk.
        """
