"""Published versions as the online store is handed them, made in memory: contracts, rows, files, requests."""

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from feature_platform.core.contract.feature_set import Contract, load_contract
from feature_platform.core.online.load import OnlineLoad
from feature_platform.errors import NotFoundError

PROJECT = "feature_store_test"
AS_OF_US = 1_768_435_200_000_000  # 2026-01-15T00:00:00Z


def contract_of(
    columns: Mapping[str, str],
    *,
    keys: tuple[str, ...] = ("user_id",),
    name: str = "user_features",
    ttl: str = "7d",
    entity: str = "user",
    **checks: Any,
) -> Contract:
    """A contract with these columns (name → contract type); the event timestamp is added."""
    document = {
        "feature_set": name,
        "version": "v1",
        "entity": entity,
        "primary_keys": list(keys),
        "ttl": ttl,
        "columns": [{"name": column, "type": kind} for column, kind in {**columns, "event_timestamp": "timestamp"}.items()],
        "checks": checks,
    }
    return load_contract(json.dumps(document), file=f"{name}.schema.json", expected_name=name, sql="select 1")


USERS = contract_of({"user_id": "int64", "f_count": "int64", "f_mean": "float64", "f_country": "string"})
"""Four columns and the event timestamp."""


def table_of(contract: Contract, rows: Mapping[str, list[Any]]) -> pa.Table:
    """Rows of a contract's schema; the event timestamp is 2026-01-15 where left out."""
    count = len(next(iter(rows.values())))
    given = {contract.timestamp_field: [AS_OF_US] * count, **rows}
    return pa.table([pa.array(given[item.name], item.type) for item in contract.arrow_schema], schema=contract.arrow_schema)


def users(ids: range | list[int], *, shift: int = 0) -> pa.Table:
    """Rows of :data:`USERS` whose values follow from the id and ``shift``, nulls among them."""
    return table_of(
        USERS,
        {
            "user_id": list(ids),
            "f_count": [(number * 7 + shift) % 1000 for number in ids],
            "f_mean": [None if (number + shift) % 5 == 0 else number / 3 + shift for number in ids],
            "f_country": [None if (number + shift) % 7 == 0 else f"land-{(number + shift) % 11}é" for number in ids],
        },
    )


def parquet_of(table: pa.Table, *, identity: Mapping[str, str], row_group_rows: int = 4_096) -> bytes:
    """A version's ``features.parquet``, with page checksums and its identity in the key-value metadata."""
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, write_page_checksum=True, coerce_timestamps="us", compression="zstd") as writer:
        writer.write_table(table, row_group_size=row_group_rows)
        writer.add_key_value_metadata(dict(identity))
    return sink.getvalue()


@dataclass
class Publications:
    """What a publication log would hand to the online store: versions by name, a sequence that rises with every promotion."""

    contract: Contract = USERS
    project: str = PROJECT
    files: dict[str, bytes] = field(default_factory=dict)
    sequence: int = 0

    def publish(self, version: str, table: pa.Table) -> OnlineLoad:
        """Commit a version and make it the head."""
        self.files[version] = parquet_of(table, identity=self._identity(version))
        return self.promote(version)

    def promote(self, version: str) -> OnlineLoad:
        """Make a version the head; for one that was the head before, this is a rollback."""
        self.sequence += 1
        return self.request(version, sequence=self.sequence)

    def request(self, version: str, *, sequence: int) -> OnlineLoad:
        """The load of a version as of one record of the log."""
        identity = self._identity(version)
        return OnlineLoad(
            contract=self.contract,
            project=self.project,
            version=version,
            sequence=sequence,
            schema_hash=identity["schema_hash"],
            content_hash=identity["content_hash"],
            open_features=lambda: self._open(version),
            open_earlier=self._open,
        )

    def _identity(self, version: str) -> dict[str, str]:
        return {
            "feature_set": self.contract.feature_set,
            "version": version,
            "schema_hash": self.contract.schema_hash,
            "content_hash": f"content of {version}",
        }

    def _open(self, version: str) -> BinaryIO:
        if version not in self.files:
            raise NotFoundError(f"{version} is gone")
        return io.BytesIO(self.files[version])


Opener = Callable[[str], BinaryIO]
