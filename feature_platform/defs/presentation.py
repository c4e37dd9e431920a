"""Metadata values, tables, schemas and lineage that Dagster's UI shows of a materialization. Pure; reading does not belong here."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final

import dagster as dg

from feature_platform.core.compute.tiles import Tile
from feature_platform.core.contract.expressions import names_of
from feature_platform.core.contract.feature_set import Column, Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.core.events.raw import RawManifest
from feature_platform.core.events.validated import ValidatedDay
from feature_platform.core.publishing.publication import CommittedVersion
from feature_platform.core.versions.charts import distribution
from feature_platform.core.versions.currency import Outdated
from feature_platform.core.versions.version_metadata import ColumnSummary, VersionMetadata

PREVIEW_ROWS: Final = 10
_PICTURES: Final = 24
"""How many columns are drawn at most; each picture takes two kilobytes of Dagster's storage for ever."""

ROW_COUNT: Final = "dagster/row_count"
COLUMN_SCHEMA: Final = "dagster/column_schema"
COLUMN_LINEAGE: Final = "dagster/column_lineage"
URI: Final = "dagster/uri"
UNOWNED: Final = "team:unowned"
"""Shown where a contract names nobody, so that the gap is visible in the UI."""


def owners_of(owner: str) -> list[str]:
    """A contract's owner for Dagster, which knows people by address and teams by name.

    >>> owners_of("ml-platform"), owners_of("ann@example.org"), owners_of("")
    (['team:ml-platform'], ['ann@example.org'], ['team:unowned'])
    """
    return [owner if "@" in owner else f"team:{owner}"] if owner else [UNOWNED]


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


def lineage(contract: Contract, sources: Mapping[dg.AssetKey, SourceContract]) -> dg.TableColumnLineage:
    """Which event columns each feature column is computed from; ``sources`` is validated asset → its source contract."""
    columns = {column.name: column for column in contract.all_columns}

    def read_by(column: Column, source: SourceContract) -> set[str]:
        if column.expression is not None:
            return {read for other in names_of(column.expression) for read in read_by(columns[other], source)}
        if column.aggregation is None:
            return {column.name} if any(item.name == column.name for item in source.columns) else {source.event_time}
        if column.aggregation.source not in {"", source.source}:
            return set()
        taken = {column.aggregation.column} if column.aggregation.column else set()
        return {*taken, *column.aggregation.where, source.event_time}

    return dg.TableColumnLineage(
        {
            name: [
                dg.TableColumnDep(asset_key=key, column_name=read) for key, of in sources.items() for read in sorted(read_by(column, of))
            ]
            for name, column in columns.items()
        }
        if contract.sql is None
        else {}
    )


def raw_day(manifest: RawManifest) -> dict[str, Any]:
    """What the UI shows of a day's raw objects."""
    objects = manifest.objects
    return {
        # Rows of text files are counted when they are validated; the validated day shows them.
        **({} if manifest.rows is None else {ROW_COUNT: manifest.rows}),
        URI: objects[0].uri.rsplit("/", 1)[0] if objects else "",
        "objects": len(objects),
        "bytes": manifest.size_bytes,
        "ignored": ", ".join(manifest.ignored) or "none",
        "unknown_columns": ", ".join(manifest.unknown_columns) or "none",
        "sources": table(
            [{"uri": o.uri, "etag": o.etag, "bytes": o.size_bytes, "rows": o.rows, "modified_at": o.modified_at} for o in objects]
        ),
    }


def validated_day(source: SourceContract, day: ValidatedDay) -> dict[str, Any]:
    """What the UI shows of a validated day."""
    return {
        ROW_COUNT: day.kept,
        COLUMN_SCHEMA: source_schema(source),
        URI: day.files[0].uri.rsplit("/", 1)[0] if day.files else "",
        "rows_in": day.rows_in,
        "raw_objects": table([{"uri": item.uri, "rows": item.rows} for item in day.raw.objects]),
        "rows_kept": day.kept,
        "rows_quarantined": day.quarantined,
        "rejected_ratio": day.quarantined / day.rows_in if day.rows_in else 0.0,
        "quarantined_by_reason": table([{"reason": reason, "rows": count} for reason, count in day.rejected.items()]),
        "missing_columns": ", ".join(day.missing_columns) or "none",
        "source_hash": source.schema_hash,
        "bytes": sum(file.size_bytes for file in day.files),
        "files": table([{"uri": file.uri, "rows": file.rows, "sha256": file.sha256} for file in day.files]),
        "quarantine": table([{"uri": file.uri, "rows": file.rows} for file in day.quarantine]),
    }


def tiles(kept: Sequence[Tile]) -> dict[str, Any]:
    """What the UI shows of a day's tiles, one for each source."""
    files = [file for tile in kept for file in tile.files]
    return {
        ROW_COUNT: sum(tile.rows for tile in kept),
        URI: files[0].uri.rsplit("/", 1)[0] if files else "",
        "bytes": sum(tile.size_bytes for tile in kept),
        "files": table([{"uri": file.uri, "rows": file.rows, "sha256": file.sha256} for file in files]),
    }


def committed(contract: Contract, version: CommittedVersion, *, lineage: dg.TableColumnLineage) -> dict[str, Any]:
    """Metadata of one materialized partition of a feature set."""
    facts = version.metadata
    return {
        ROW_COUNT: facts.row_count,
        COLUMN_SCHEMA: contract_schema(contract),
        COLUMN_LINEAGE: lineage,
        URI: version.uri,
        "version": version.version,
        "is_new": version.is_new,
        "as_of": facts.document["as_of"],
        "schema_hash": facts.schema_hash,
        "content_hash": facts.content_hash,
        "supersedes": facts.supersedes or "",
        "bytes": facts.size_bytes,
        "files": table([{"file": name, "sha256": file.sha256, "bytes": file.size_bytes} for name, file in facts.files.items()]),
        "sources": table([{"uri": s.uri, "etag": s.etag, "bytes": s.bytes} for s in facts.sources]),
        "inputs": ", ".join(f"{item.feature_set} {item.version}" for item in facts.inputs) or "none",
        "missing_partitions": ", ".join(facts.missing_partitions) or "none",
        "statistics": table([{"column": name, **_brief(values)} for name, values in facts.statistics.items()]),
        "null_ratio": facts.null_ratio,  # one number that the UI plots over time
    }


def distributions(contract: Contract, facts: VersionMetadata, before: VersionMetadata | None) -> dg.MetadataValue:
    """A picture of each numeric feature's distribution, beside that of the version ``before`` (grey)."""
    known = before.statistics if before else {}
    features = [column.name for column in contract.feature_columns if column.name in facts.statistics]
    drawn = [(name, distribution(name, facts.statistics[name], known.get(name))) for name in features]
    pictures = [(name, svg) for name, svg in drawn if svg][:_PICTURES]
    lines = [f"**{name}**\n\n![{name}](data:image/svg+xml;base64,{b64encode(svg.encode()).decode()})" for name, svg in pictures]
    return dg.MetadataValue.md("\n\n".join(lines) or "no numeric features")


def changed_days(found: Outdated | None) -> str:
    """Days of a version's window whose raw objects changed or vanished since it was built."""
    return found.why if found else "none"


def _brief(values: ColumnSummary) -> dict[str, Any]:
    return {name: getattr(values, name) for name in ("nulls", "min", "max", "mean", "distinct")}
