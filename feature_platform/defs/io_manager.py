"""The IO manager by which Dagster commits versions to the feature set store and loads them.

How a version is committed does not belong here (``use_cases.commit``), nor what a materialization shows (``defs.presentation``).
"""

from typing import Any, get_args

import dagster as dg
import pandas as pd
import pyarrow as pa

from feature_platform.core.layout import as_of
from feature_platform.core.publishing.publication import CommittedVersion
from feature_platform.core.versions.checks import reference_of
from feature_platform.core.versions.version_metadata import VersionMetadata
from feature_platform.defs import presentation
from feature_platform.defs.failures import as_dagster_failures
from feature_platform.defs.partitions import span
from feature_platform.defs.source_assets import validated_key
from feature_platform.defs.summary import cause_of, reported
from feature_platform.errors import NotFoundError
from feature_platform.use_cases.build import FeatureBuild, FeatureBuilds
from feature_platform.use_cases.commit import commit
from feature_platform.use_cases.read_version import metadata_if_whole
from feature_platform.wiring import Platform


class S3FeatureSetIOManager(dg.IOManager):
    """Commits an asset's rows as versions of four files, and loads versions back.

    The asset's name is the feature set's. A run may cover any number of partitions: each becomes a version of its own.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def handle_output(self, context: dg.OutputContext, obj: FeatureBuilds) -> None:
        """Commit every partition's build; attach versions, hashes, statistics, a preview and the data version."""
        name = _feature_set(context)
        with reported(context, feature_set=name, partitions=list(obj)) as report:
            versions = {partition: self._commit(context, partition=partition, build=build) for partition, build in sorted(obj.items())}
            newest = max(versions)
            catalog = self._platform.catalog
            contract = catalog.contract(name)
            rows = sum(version.metadata.row_count for version in versions.values())
            lacking = sorted({day for version in versions.values() for day in version.metadata.missing_partitions})
            if lacking:
                report.add(missing_days=",".join(lacking))
            report.add(version=span([each.version for each in versions.values()], between=".."), uri=versions[newest].uri, rows=rows)
            lineage = presentation.lineage(contract, {validated_key(one.source): one for one in catalog.sources_of(contract)})
            for partition, version in versions.items():
                told = presentation.committed(contract, version, lineage=lineage) | self._built(obj[partition])
                if partition == newest:
                    told["distributions"] = presentation.distributions(contract, version.metadata, self._before(name, version))
                context.step_context.add_asset_metadata(told, asset_key=context.asset_key, partition_key=partition)
            data_version = dg.DataVersion("+".join(each.metadata.content_hash[:16] for _, each in sorted(versions.items()))[:200])
            context.step_context.set_data_version(context.asset_key, data_version)

    def load_input(self, context: dg.InputContext) -> pa.Table | pd.DataFrame | dict[str, Any]:
        """Rows of the newest version of each partition that is asked for; of ``latest`` where no partition is.

        Returns:
            One table for one partition or none, a dict of tables by partition for several; pandas where the input is annotated so, also as
            ``dict[str, pd.DataFrame]``.
        """
        with as_dagster_failures():
            name = context.asset_key.path[-1]
            partitions = list(context.asset_partition_keys) if context.has_asset_partitions else []
            tables = {partition: self._load(name, partition, context) for partition in partitions}
            if not partitions:
                return self._load(name, None, context)
            return tables[partitions[0]] if len(tables) == 1 else tables

    def _commit(self, context: dg.OutputContext, *, partition: str, build: FeatureBuild | CommittedVersion) -> CommittedVersion:
        if isinstance(build, CommittedVersion):
            return build
        name = _feature_set(context)
        version = commit(self._platform, name, partition, build, reason=cause_of(context))
        word = "committed" if version.is_new else "unchanged, already committed as"
        context.log.info(f"{name} {partition}: {word} {version.version}, {version.metadata.row_count} rows, {version.uri}")
        return version

    def _load(self, name: str, partition: str | None, context: dg.InputContext) -> pa.Table | pd.DataFrame:
        history = self._platform.feature_sets.history(name)
        found = history.head_version if partition is None else history.newest_of(as_of(partition))
        if found is None:
            what = "latest" if partition is None else f"version of partition {partition}"
            raise NotFoundError(f"{name} has no {what}; materialize it first.")
        table = self._platform.feature_sets.load(name, found.version)
        wanted = context.dagster_type.typing_type
        return table.to_pandas() if pd.DataFrame in (wanted, *get_args(wanted)) else table

    def _before(self, name: str, version: CommittedVersion) -> VersionMetadata | None:
        """Metadata of the version that drift is measured against, if there is one."""
        history = self._platform.feature_sets.history(name)
        reference = reference_of(history, history.versions[version.version])
        return metadata_if_whole(self._platform, name, reference.version) if reference else None

    def _built(self, build: FeatureBuild | CommittedVersion) -> dict[str, Any]:
        """Metadata of how the window was read and, where rows were computed now, a preview of them."""
        if isinstance(build, CommittedVersion):
            return {"window_read_from": "nothing: unchanged"}
        first = next(iter(build.table.batches()), None)
        rows = [] if first is None else first.slice(0, presentation.PREVIEW_ROWS).to_pylist()
        return {"window_read_from": build.window.told, "preview": presentation.table(rows)}


def _feature_set(context: dg.OutputContext) -> str:
    return context.asset_key.path[-1]
