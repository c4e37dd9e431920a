"""What Dagster's UI shows of a materialization: metadata values, tables, schemas and lineage. Pure; no store is read here."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import dagster as dg

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.publishing.publication import Publication

PREVIEW_ROWS: Final = 10
ROW_COUNT: Final = "dagster/row_count"
COLUMN_SCHEMA: Final = "dagster/column_schema"
COLUMN_LINEAGE: Final = "dagster/column_lineage"
URI: Final = "dagster/uri"


def table(rows: Sequence[Mapping[str, Any]]) -> dg.MetadataValue:
    """Rows as a Markdown table, which the UI renders whatever the columns are."""
    if not rows:
        return dg.MetadataValue.md("no rows")
    names = list(rows[0])
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    lines += [" | ".join(_cell(row.get(name)) for name in names) for row in rows]
    return dg.MetadataValue.md("\n".join(f"| {line} |" for line in lines))


def _cell(value: object) -> str:
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def contract_schema(contract: Contract) -> dg.TableSchema:
    """The columns of a feature set, keys marked."""
    required = {*contract.primary_keys, contract.timestamp_field}
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type,
                description=column.description or None,
                constraints=dg.TableColumnConstraints(nullable=column.name not in required, unique=contract.primary_keys == [column.name]),
            )
            for column in contract.all_columns
        ]
    )


def source_schema(source: SourceContract) -> dg.TableSchema:
    """The columns of a raw source."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(c.name, c.type, description=c.description or None, constraints=dg.TableColumnConstraints(nullable=c.nullable))
            for c in source.columns
        ]
    )


def lineage(contract: Contract, *, upstream: dg.AssetKey, source: SourceContract) -> dg.TableColumnLineage:
    """Which event columns each feature column is computed from."""
    known = {column.name for column in source.columns}

    def read_by(name: str) -> list[str]:
        column = next(c for c in contract.all_columns if c.name == name)
        if column.aggregation is None:
            return [name] if name in known else [source.event_time]
        taken = [column.aggregation.column] if column.aggregation.column else []
        return sorted({*taken, *column.aggregation.where, source.event_time})

    return dg.TableColumnLineage(
        {
            column.name: [dg.TableColumnDep(asset_key=upstream, column_name=name) for name in read_by(column.name)]
            for column in contract.all_columns
        }
        if contract.sql is None
        else {}
    )


def published(
    contract: Contract, publication: Publication, *, lineage: dg.TableColumnLineage, preview: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Metadata of one materialized partition of a feature set."""
    facts = publication.metadata
    files = facts["files"]
    return {
        ROW_COUNT: facts["row_count"],
        COLUMN_SCHEMA: contract_schema(contract),
        COLUMN_LINEAGE: lineage,
        URI: publication.uri,
        "version": publication.version,
        "is_new": publication.is_new,
        "as_of": facts["as_of"],
        "schema_hash": facts["schema_hash"],
        "content_hash": facts["content_hash"],
        "supersedes": facts["supersedes"] or "",
        "bytes": sum(file["bytes"] for file in files.values()),
        "files": table([{"file": name, **file} for name, file in files.items()]),
        "sources": table([{"uri": s["uri"], "etag": s["etag"], "bytes": s["bytes"]} for s in facts["source"]]),
        "missing_partitions": ", ".join(facts["window"]["missing"]) or "none",
        "statistics": table([{"column": name, **_brief(values)} for name, values in facts["statistics"].items()]),
        "null_ratio": _null_ratio(facts),
        "preview": table(preview),
    }


def _brief(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values.get(name) for name in ("nulls", "min", "max", "mean", "distinct")}


def _null_ratio(facts: Mapping[str, Any]) -> float:
    """The share of null cells in the table: one number that the UI plots over time."""
    cells = facts["row_count"] * max(len(facts["statistics"]), 1)
    return sum(values["nulls"] for values in facts["statistics"].values()) / cells if cells else 0.0
