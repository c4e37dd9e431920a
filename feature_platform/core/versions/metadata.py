"""``metadata.json`` of a version, made from the delivered template and the facts of the build.

The facts always win: a template may add keys and order them, it cannot change a fact. Rendering does not belong here
(``core.versions.template``, and ``adapters.feature_set_store.template_rendering`` where it is bounded), nor writing, nor reading it back
(``version_metadata``).
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from feature_platform.core import layout
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.versions import template as metadata_template
from feature_platform.core.versions.feature_table import EncodedFeatures, FileDigest
from feature_platform.errors import ContractError

FORMAT: Final = 1
"""Version of the fields below; readers accept every format up to this one."""
REQUIRED: Final = ("feature_set", "version", "generated_at", "source", "pipeline", "schema_hash", "feature_uri")
CSV_NOTE: Final = "string cells that begin with = + - @ tab or carriage return carry a leading apostrophe; remove it to read the value"


class Renderer(Protocol):
    """Renders a template into a JSON object; see :func:`metadata_template.render`."""

    def __call__(self, template: str, values: Mapping[str, Any], *, file: str) -> dict[str, Any]:
        """The object.

        Raises:
            ContractError: The template is wrong, or needs more than it may.
        """


@dataclass(frozen=True, slots=True)
class SourceObject:
    """One raw object that a version was computed from, pinned by its ETag."""

    uri: str
    etag: str
    bytes: int
    partition: str


@dataclass(frozen=True, slots=True)
class InputVersion:
    """One version of another feature set that a version was computed from."""

    feature_set: str
    version: str
    content_hash: str


def pins_of(sources: Iterable[SourceObject], inputs: Iterable[InputVersion]) -> frozenset[tuple[str, str]]:
    """Identifies everything that a version was computed from: URI and ETag of raw objects, name and content hash of other sets."""
    return frozenset({*((item.uri, item.etag) for item in sources), *((item.feature_set, item.content_hash) for item in inputs)})


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a build came from: raw objects, code and run.

    ``missing_partitions`` are days of the window without raw objects; ``earlier_partitions`` are days of it before the source's first day,
    which do not count as missing. ``extra`` are further facts, e.g. ``source_hash``, which are added to the metadata and never replace one
    of the other facts.
    """

    sources: Sequence[SourceObject]
    partitions: Sequence[str]
    inputs: Sequence[InputVersion] = ()
    missing_partitions: Sequence[str] = ()
    earlier_partitions: Sequence[str] = ()
    code_version: str = ""
    run_id: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)


def render_metadata(
    template: str,
    *,
    contract: Contract,
    version: str,
    write_id: str,
    feature_uri: str,
    as_of: datetime,
    generated_at: datetime,
    encoded: EncodedFeatures,
    digests: Mapping[str, FileDigest],
    provenance: Provenance,
    supersedes: str | None,
    render: Renderer = metadata_template.render,
) -> bytes:
    """The bytes of ``metadata.json``; ``render`` renders the template.

    Raises:
        ContractError: The template is wrong, or lacks a required key, or contradicts the facts.
    """
    file = f"metadata.json.j2 of {contract.feature_set}"
    facts: dict[str, Any] = {
        **provenance.extra,
        "format": FORMAT,
        "feature_set": contract.feature_set,
        "version": version,
        "contract_version": contract.version,
        "generated_at": _iso(generated_at),
        "as_of": _iso(as_of),
        "partition": layout.partition_of(as_of),
        "schema_hash": contract.schema_hash,
        "content_hash": encoded.content_hash,
        "row_count": encoded.row_count,
        "feature_uri": feature_uri,
        "write_id": write_id,
        "supersedes": supersedes,
        "pipeline": "feature_platform",
        "code_version": provenance.code_version,
        "run_id": provenance.run_id,
        "source": [asdict(source) for source in provenance.sources],
        "input_versions": [asdict(each) for each in provenance.inputs],
        "window": {
            "partitions": list(provenance.partitions),
            "missing": list(provenance.missing_partitions),
            "before_first_day": list(provenance.earlier_partitions),
        },
        "files": {name: {"sha256": digest.sha256, "bytes": digest.size_bytes} for name, digest in digests.items()},
        "csv": CSV_NOTE,
        "statistics": {name: dict(values) for name, values in encoded.statistics.items()},
    }
    values = {**facts, "owner": contract.owner, "description": contract.description, "entity": contract.entity}
    rendered = render(template, values, file=file)
    faults = [f"{key}: missing from the output; expected it to be rendered" for key in REQUIRED if key not in rendered]
    faults += [
        f"{key}: rendered as {rendered[key]!r}, expected {facts[key]!r}"
        for key in ("feature_set", "version", "schema_hash", "feature_uri")
        if key in rendered and rendered[key] != facts[key]
    ]
    if faults:
        raise ContractError(f"Template {file} has {len(faults)} fault(s):", faults)
    return json.dumps({**rendered, **facts}, indent=2, ensure_ascii=False, allow_nan=False).encode()


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
