"""Check everything in a directory of contracts that can be checked without data and without a network.

Each template is rendered for an invented version, and each SQL transform is bound against a view of its source's columns without rows.
Both take processes of their own, so loading a catalog leaves them out. Reading files does not belong here (``adapters.contract_files``).
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from feature_platform.adapters.contract_files import read_catalog, require_no_faults
from feature_platform.adapters.feature_set_store.template_rendering import render_template
from feature_platform.core.compute.tiles import InputFile
from feature_platform.core.contract.catalog import Catalog
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.layout import FILES, METADATA, partition_of, version_id
from feature_platform.core.versions.feature_table import EncodedFeatures, FileDigest
from feature_platform.core.versions.metadata import Provenance, SourceObject, render_metadata
from feature_platform.errors import ContractError

_MOMENT: Final = datetime(2000, 1, 2, tzinfo=UTC)


def check_catalog(directory: Path) -> Catalog:
    """Read and judge every contract, source contract, template and SQL transform of a directory.

    Raises:
        ContractError: Naming every fault of every file.
    """
    catalog, faults = read_catalog(directory)
    faults += _template_faults(catalog)
    transforms = [
        (contract, catalog.sources_of(contract), [_without_rows(catalog.contracts[name]) for name in contract.feature_sets])
        for contract in catalog.contracts.values()
        if contract.sql is not None
        and set(contract.source_names) <= set(catalog.sources)
        and set(contract.feature_sets) <= set(catalog.contracts)
    ]
    if transforms:
        from feature_platform.adapters.compute.duckdb.transform_process import transform_faults

        faults += transform_faults(transforms)
    require_no_faults(directory, faults)
    return catalog


def _without_rows(contract: Contract) -> InputFile:
    return InputFile(contract.feature_set, {column.name: column.type for column in contract.all_columns})


def _template_faults(catalog: Catalog) -> list[str]:
    """Faults of each template, found with the first feature set that uses it: the names that it may use are the same for all."""
    first = {text: catalog.contracts[name] for name, text in reversed(catalog.templates.items())}
    faults = []
    for text, contract in first.items():
        try:
            _render_sample(text, contract)
        except ContractError as error:
            faults += [f"metadata.json.j2 of {contract.feature_set}: {fault}" for fault in error.faults or [error.subject]]
    return faults


def _render_sample(template: str, contract: Contract) -> None:
    statistics = {column.name: {"nulls": 0, "min": None, "max": None} for column in contract.all_columns}
    day, version = partition_of(_MOMENT), version_id(_MOMENT)
    render_metadata(
        template,
        contract=contract,
        version=version,
        write_id="sample",
        feature_uri=f"s3://sample/{contract.feature_set}/{version}/",
        as_of=_MOMENT,
        generated_at=_MOMENT,
        encoded=EncodedFeatures(Path(), Path(), {}, row_count=1, content_hash="0" * 64, statistics=statistics),
        digests={name: FileDigest("0" * 64, 1) for name in FILES if name != METADATA},
        provenance=Provenance(
            sources=[SourceObject("s3://sample/part-0.parquet", "0" * 32, 1, day)],
            partitions=[day],
            extra={"source_hash": "0" * 64, "sql_hash": contract.sql_hash},
        ),
        supersedes=None,
        render=render_template,
    )
