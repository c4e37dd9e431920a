"""Feature set versions in an object store: every version is written, made latest and read back here.

The steps and their order do not belong here (the protocols in ``core.publishing``), nor encoding (``feature_files``), nor Dagster.
"""

import shutil
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from feature_platform.adapters.feature_set_store.feature_files import encode_features, read_csv, restamp
from feature_platform.adapters.feature_set_store.protocol_runner import COPIED_BYTES, SPOOL_BYTES, ProtocolRunner, digest
from feature_platform.adapters.feature_set_store.template_rendering import render_template
from feature_platform.adapters.machine.hashed_sink import HashedSink
from feature_platform.adapters.machine.spool import spool
from feature_platform.core.contract import documents
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.layout import CSV, FILES, METADATA, PARQUET, SCHEMA, FeatureSetLayout
from feature_platform.core.parquet import read_whole
from feature_platform.core.publishing import decisions, log_access, publication, retention
from feature_platform.core.publishing.publication import Author, Build, CommittedVersion, Move, Prepare, PreparedFile
from feature_platform.core.versions import metadata, proof
from feature_platform.core.versions.feature_table import EncodedFeatures, FeatureTable, FileDigest
from feature_platform.core.versions.log import History, Version
from feature_platform.core.versions.version_metadata import VersionMetadata, parse_metadata
from feature_platform.errors import NotFoundError
from feature_platform.ports.object_store import ObjectStore


class ObjectFeatureSetStore:
    """See :class:`FeatureSetStore`: versions below one base URI of an object store (S3, or memory in tests).

    Args:
        feature_base: ``s3://bucket/prefix`` above the feature sets.
        workdir: Where files are encoded before they are uploaded, and copied; needs room for a version of ``spool_bytes`` of rows.
        clock: Tells the time that records carry; orders nothing.
        new_id: Yields ids that nobody else ever gets.
        render: Renders metadata templates; by default in a bounded process of its own.
        spool_bytes: From so many bytes of rows on, a version's files are encoded twice, the second time straight into the store; longer
            files are read where they are.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        feature_base: str,
        workdir: Path | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        sleep: Callable[[float], None] | None = None,
        render: metadata.Renderer = render_template,
        spool_bytes: int = SPOOL_BYTES,
    ) -> None:
        self.objects = store
        self._base = feature_base
        self._workdir = workdir
        self._clock = clock
        self._new_id = new_id
        self._render = render
        self._spool_bytes = spool_bytes
        self._runner = ProtocolRunner(store, workdir=workdir, sleep=sleep or time.sleep, spool_bytes=spool_bytes)

    def layout(self, feature_set: str) -> FeatureSetLayout:
        return FeatureSetLayout(self._base, feature_set)

    def history(self, feature_set: str) -> History:
        return self._runner.run(log_access.read_history(self.layout(feature_set)))

    def audit(self, feature_set: str) -> History:
        return self._runner.run(log_access.read_whole_log(self.layout(feature_set)))

    def published(self) -> Sequence[str]:
        base = f"{self._base.rstrip('/')}/"
        names = [uri.removeprefix(base).rstrip("/") for uri in self.objects.directories(base)]
        return [name for name in names if not name.startswith("_")]

    def commit(
        self,
        table: FeatureTable,
        *,
        contract: Contract,
        template: str,
        as_of: datetime,
        provenance: metadata.Provenance,
        idempotency_key: str,
        actor: str,
        reason: str = "",
    ) -> CommittedVersion:
        """See :meth:`FeatureSetStore.commit`; raises ``FullDiskError`` where the local disk is full."""
        keys, author = self.layout(contract.feature_set), self._author(actor, reason)
        with spool("publish-", parent=self._workdir) as directory:
            version = decisions.next_version_id(self.history(contract.feature_set), moment=as_of)
            write_id = self._new_id()
            identity = {
                "feature_set": contract.feature_set,
                "version": version,
                "schema_hash": contract.schema_hash,
                "as_of": as_of.isoformat(),
                "write_id": write_id,
            }
            room = directory if table.size_bytes <= self._spool_bytes else None
            encoded = encode_features(table, contract=contract, directory=room, identity=identity)
            sources = metadata.pins_of(provenance.sources, provenance.inputs)
            build = Build(as_of, write_id, idempotency_key, contract.schema_hash, encoded.content_hash, sources)

            def prepare(request: Prepare) -> Mapping[str, PreparedFile]:
                named = {**identity, "version": request.version}
                files = encoded
                if request.version != version and isinstance(encoded.parquet, Path):
                    files = restamp(encoded, encoded.parquet, identity=named)
                elif request.version != version:
                    files = encode_features(table, contract=contract, directory=None, identity=named)
                newest = self.history(contract.feature_set).newest_of(as_of)
                return _prepared(
                    files,
                    template=template,
                    contract=contract,
                    identity=named,
                    uri=keys.version(request.version),
                    as_of=as_of,
                    generated_at=author.at,
                    provenance=provenance,
                    supersedes=newest.version if newest else None,
                    render=self._render,
                )

            done = self._runner.run(publication.commit(keys, build, author=author), handlers={Prepare: prepare})
        found = self.metadata(contract.feature_set, done.version.version)
        return CommittedVersion(done.version.version, done.is_new, keys.version(done.version.version), found)

    def promote(self, feature_set: str, version: str, *, actor: str, reason: str = "") -> Move:
        return self._runner.run(publication.promote(self.layout(feature_set), version, author=self._author(actor, reason)))

    def rollback(self, feature_set: str, version: str, *, actor: str, reason: str) -> Move:
        return self._runner.run(publication.rollback(self.layout(feature_set), version, author=self._author(actor, reason)))

    def heal(self, feature_set: str) -> tuple[History, int]:
        return self._runner.run(publication.project(self.layout(feature_set), new_id=self._new_id))

    def metadata(self, feature_set: str, version: str) -> VersionMetadata:
        """See :meth:`FeatureSetStore.metadata`; raises ``InvalidDataError`` where the file is damaged."""
        return self._document(self.layout(feature_set).version_file(version, METADATA))

    def latest_metadata(self, feature_set: str) -> VersionMetadata:
        return self._document(self.layout(feature_set).latest_file(METADATA))

    def readable(self, feature_set: str, version: str) -> Version:
        history = self.history(feature_set)
        pins = self.pins(feature_set).get(version, ()) if version in history.expired else ()
        return decisions.readable(history, version, pins=pins)

    def contract_of(self, feature_set: str, version: str) -> Contract:
        uri = self.layout(feature_set).version_file(version, SCHEMA)
        stored = self.objects.get(uri)
        if stored is None:
            raise NotFoundError(f"{uri} is gone although the log names {version}; roll back to another version.")
        return proof.contract_of(stored.body, feature_set=feature_set)

    @contextmanager
    def fetched(self, prefix: str) -> Iterator[tuple[dict[str, Path | BinaryIO], dict[str, FileDigest]]]:
        with ExitStack() as stack:
            directory = stack.enter_context(spool("verify-", parent=self._workdir))
            files: dict[str, Path | BinaryIO] = {}
            present = {}
            for info in self.objects.scan(prefix):
                name = info.uri.removeprefix(prefix)
                present[name] = FileDigest("", info.size_bytes)
                if name in FILES and (info.size_bytes <= self._spool_bytes or name not in {PARQUET, CSV}):
                    files[name] = path = directory / name
                    self.objects.download(info.uri, path)
                    present[name] = digest(path)
                elif name in FILES:
                    files[name] = file = stack.enter_context(self.objects.open(info.uri, etag=info.etag))
                    shutil.copyfileobj(file, read := HashedSink(), COPIED_BYTES)
                    present[name] = FileDigest(read.sha256, read.size_bytes)
                    file.seek(0)
            yield files, present

    def read_csv(self, source: Path | BinaryIO, *, contract: Contract) -> Iterator[pa.RecordBatch]:
        return read_csv(source, contract=contract)

    def open_features(self, feature_set: str, version: str) -> BinaryIO:
        found = self.readable(feature_set, version)
        return self._open(self.layout(feature_set).version_file(found.version, PARQUET), version)

    def _open(self, uri: str, version: str) -> BinaryIO:
        info = self.objects.head(uri)
        if info is None:
            raise NotFoundError(f"{uri} is gone although the log names {version}; choose another version.")
        return self.objects.open(uri, etag=info.etag)

    @contextmanager
    def local_features(self, feature_set: str, version: Version) -> Iterator[Callable[[], BinaryIO]]:
        uri = self.layout(feature_set).version_file(version.version, PARQUET)
        with spool("features-", parent=self._workdir) as directory:
            path = directory / PARQUET

            def opened() -> BinaryIO:
                if version.files[PARQUET].size_bytes > self._spool_bytes:
                    return self._open(uri, version.version)
                if not path.exists():
                    self.objects.download(uri, path)
                return path.open("rb")

            yield opened

    def load(self, feature_set: str, version: str) -> pa.Table:
        with self.open_features(feature_set, version) as file:
            return read_whole(file)

    def pin(self, feature_set: str, *versions: str, name: str, actor: str, reason: str = "") -> bool:
        return self._runner.run(retention.pin(self.layout(feature_set), *versions, name=name, author=self._author(actor, reason)))

    def unpin(self, feature_set: str, version: str, *, name: str) -> None:
        self._runner.run(retention.unpin(self.layout(feature_set), version, name=name))

    def pins(self, feature_set: str) -> dict[str, tuple[str, ...]]:
        return self._runner.run(retention.list_pins(self.layout(feature_set)))

    def survey(self, feature_set: str, *, policy: retention.Policy, protected: Collection[str]) -> list[retention.Candidate]:
        return self._runner.run(retention.survey(self.layout(feature_set), protected=protected, policy=policy, now=self._clock()))

    def collect(
        self, feature_set: str, *, policy: retention.Policy, actor: str, protected: Callable[[], Collection[str]]
    ) -> retention.Sweep:
        author = self._author(actor, "retention")
        return self._runner.run(retention.collect(self.layout(feature_set), protected=protected, policy=policy, author=author))

    def _author(self, actor: str, reason: str) -> Author:
        return Author(actor=actor, reason=reason, at=self._clock(), new_id=self._new_id)

    def _document(self, uri: str) -> VersionMetadata:
        stored = self.objects.get(uri)
        if stored is None:
            raise NotFoundError(f"{uri} does not exist; see `feature-platform versions list` for what does.")
        return parse_metadata(stored.body, uri=uri)


def _prepared(
    encoded: EncodedFeatures,
    *,
    template: str,
    contract: Contract,
    identity: Mapping[str, str],
    uri: str,
    as_of: datetime,
    generated_at: datetime,
    provenance: metadata.Provenance,
    supersedes: str | None,
    render: metadata.Renderer,
) -> dict[str, PreparedFile]:
    schema = documents.canonical_json(dict(contract.document))
    digests = {**encoded.digests, SCHEMA: digest(schema)}
    described = metadata.render_metadata(
        template,
        contract=contract,
        version=identity["version"],
        write_id=identity["write_id"],
        feature_uri=uri,
        as_of=as_of,
        generated_at=generated_at,
        encoded=encoded,
        digests=digests,
        provenance=provenance,
        supersedes=supersedes,
        render=render,
    )
    return {
        PARQUET: PreparedFile(encoded.parquet, digests[PARQUET]),
        CSV: PreparedFile(encoded.csv, digests[CSV]),
        SCHEMA: PreparedFile(schema, digests[SCHEMA]),
        METADATA: PreparedFile(described, digest(described)),
    }
