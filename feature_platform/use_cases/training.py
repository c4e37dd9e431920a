"""Make a training set (features as they were known at each label's moment), make the same bytes again, and prove it.

What was known when does not belong here (``core.training.known``), nor joining (the compute engine).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from importlib.metadata import version as installed_version

import pyarrow as pa

from feature_platform.core.contract import types
from feature_platform.core.layout import PARQUET
from feature_platform.core.row_groups import in_row_groups
from feature_platform.core.training.known import Known, KnownAt, between
from feature_platform.core.training.labels import Rows, StagedFile, asked, check_labels
from feature_platform.core.training.lookup import Lookup, parse_features
from feature_platform.core.training.manifest import DATA, LABELS, TrainingManifest, UsedFeatureSet, UsedVersion, name_of
from feature_platform.core.training.split import Split
from feature_platform.core.versions.content_hash import ContentHasher, type_name
from feature_platform.core.versions.log import History
from feature_platform.errors import InvalidDataError
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.look_up import gone_versions, lookup_in, opener

SPLIT = "split"
"""Name of the column that says which part of the split a row belongs to."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a training set shall hold, besides its labels.

    ``features`` are ``<feature_set>:<feature>``, or ``<feature_set>`` for all. ``ttl`` is each contract's own where left out; zero means
    any age. ``full_names`` puts ``<feature_set>__`` before each feature, as Feast does.
    """

    features: Sequence[str]
    known_at: KnownAt = "publication"
    ttl: timedelta | None = None
    timestamp: str = "event_timestamp"
    split: Split | None = None
    full_names: bool = False


@dataclass(slots=True)
class _Counts:
    """The results of the lookups so far: status → number of rows, and version → number of rows that it was known for."""

    statuses: dict[str, int]
    versions: dict[str, int]

    def add(self, answers: pa.RecordBatch, lookup: Lookup) -> None:
        for name, counts in ((lookup.status_name, self.statuses), (lookup.version_name, self.versions)):
            for item in answers.column(name).value_counts().to_pylist():
                if item["values"] is not None:
                    counts[item["values"]] = counts.get(item["values"], 0) + item["counts"]

    def told(self, item: UsedFeatureSet) -> UsedFeatureSet:
        """A manifest's entry with these counts."""
        versions = tuple(used.model_copy(update={"rows": self.versions.get(used.version, 0)}) for used in item.versions)
        return item.model_copy(update={"versions": versions, "statuses": self.statuses})


@dataclass(frozen=True, slots=True)
class _Joined:
    """A training set in a local file."""

    file: StagedFile
    content_hash: str
    counts: Sequence[_Counts]


def create(platform: Platform, labels: Rows, wanted: Asked, *, now: datetime, actor: str, out: str | None = None) -> TrainingManifest:
    """Look features up as they were known at each label's moment, and keep rows, labels and manifest.

    Rows out are the rows in, in their order, with all their columns. The versions that were known are pinned, so that retention keeps them.
    The same labels and features over the same log give the same name, and are not written twice.

    Args:
        now: The present moment; later labels are refused.
        out: URI of the directory for the files, which go to ``<name>/`` in it; beside the feature sets where left out, where the manifest
            is kept in any case.

    Raises:
        InvalidDataError: Labels or features cannot be used.
        UnknownNameError: There is no such feature set.
        NotFoundError: No version of a feature set was ever published.
    """
    feature_sets, chosen = platform.feature_sets, parse_features(wanted.features)
    for name in chosen:
        platform.catalog.contract(name)
    histories = {name: feature_sets.history(name) for name in chosen}
    lookups = [
        lookup_in(
            feature_sets,
            name,
            histories[name],
            features=features,
            known_at=wanted.known_at,
            ttl=wanted.ttl,
            prefix=f"{name}__" if wanted.full_names else "",
        )
        for name, features in chosen.items()
    ]
    keys = _keys(lookups)
    added = [name for lookup in lookups for name in lookup.schema.names] + ([SPLIT] if wanted.split else [])
    faults = sorted({name for name in added if added.count(name) > 1})
    if faults:
        raise InvalidDataError(f"Features of several sets are called {', '.join(faults)}; ask for full feature names.")
    oldest, newest = check_labels(labels, timestamp=wanted.timestamp, keys=keys, taken=added, now=now)
    # Versions that were not known at any label's moment must not change the training set's name.
    lookups = [replace(lookup, timeline=between(lookup.timeline, oldest, newest)) for lookup in lookups]
    store, split = platform.training_sets, wanted.split
    sets = [_used(platform, lookup, histories[lookup.feature_set]) for lookup in lookups]
    with store.staged(labels.schema, labels.batches()) as kept:
        request = {"known_at": wanted.known_at, "timestamp": wanted.timestamp, "split": split and split.model_dump(mode="json")}
        name = name_of(labels_sha256=kept.digest.sha256, request=request, feature_sets=sets)
        if (made := store.find(name)) is not None:
            if platform.objects.head(made.data.uri):
                return made
            delete(platform, name)  # A deletion before was cut short.
        with _joined(platform, store.rows_of(kept), lookups, split, wanted.timestamp) as joined:
            sets = [counts.told(item) for item, counts in zip(sets, joined.counts, strict=True)]
            _pin(platform, name, sets, actor=actor)
            directory = f"{out.rstrip('/')}/{name}/" if out else store.directory(name)
            manifest = TrainingManifest(
                training_set=name,
                known_at=wanted.known_at,
                timestamp=wanted.timestamp,
                labels=store.keep(kept, f"{directory}{LABELS}"),
                data=store.keep(joined.file, f"{directory}{DATA}"),
                feature_sets=tuple(sets),
                split=split,
                content_hash=joined.content_hash,
                made_by=actor,
                made_at=now,
                release=installed_version("feature-platform"),
            )
            store.put_manifest(manifest)
            return manifest


@contextmanager
def rebuilt(platform: Platform, manifest: TrainingManifest) -> Iterator[Rows]:
    """The rows of a training set, made again from its labels and versions; versions that were published later do not matter.

    Raises:
        NotFoundError: A version or the labels are gone.
        InvalidDataError: They were altered, or the rows differ.
    """
    store = platform.training_sets
    with store.open_rows(manifest.labels) as labels:
        lookups = [_recorded(platform, item) for item in manifest.feature_sets]
        with _joined(platform, labels, lookups, manifest.split, manifest.timestamp) as joined:
            if joined.file.digest.sha256 != manifest.data.sha256:
                same = "the values are the same" if joined.content_hash == manifest.content_hash else "values differ"
                raise InvalidDataError(
                    f"Training set {manifest.training_set} came out with SHA-256 {joined.file.digest.sha256}; expected "
                    f"{manifest.data.sha256} ({same}). It was made by release {manifest.release}; make it again with that one."
                )
            yield store.rows_of(joined.file)


def verify(platform: Platform, name: str) -> TrainingManifest:
    """Make a training set again and compare it with what is kept; its manifest where both are the same.

    Raises:
        UnknownNameError: There is none of this name.
        NotFoundError: A file or version that it was made from is gone.
        InvalidDataError: A file or version was altered.
    """
    manifest = platform.training_sets.manifest(name)
    with platform.training_sets.open_rows(manifest.data), rebuilt(platform, manifest):
        return manifest


def delete(platform: Platform, name: str) -> TrainingManifest:
    """Remove a training set and the pins that kept its versions.

    Rows first, so that nobody takes what is left of it for a training set; the manifest last, because it says what else there is to remove.
    A deletion that was cut short is finished by repeating it.

    Raises:
        UnknownNameError: There is none of this name.
    """
    manifest = platform.training_sets.manifest(name)
    platform.training_sets.delete_rows(manifest)
    for item in manifest.feature_sets:
        pins = platform.feature_sets.pins(item.feature_set)
        for version in item.versions:
            if _pin_name(name) in pins.get(version.version, ()):
                platform.feature_sets.unpin(item.feature_set, version.version, name=_pin_name(name))
    platform.training_sets.delete_manifest(name)
    return manifest


@contextmanager
def _joined(platform: Platform, labels: Rows, lookups: Sequence[Lookup], split: Split | None, timestamp: str) -> Iterator[_Joined]:
    """Labels with their features, in the order of the labels, in a local file."""
    keys = _keys(lookups)
    question = asked(labels.batches(), timestamp=timestamp, keys=keys)
    parts = [pa.schema([pa.field(SPLIT, pa.string(), nullable=False)])] if split else []
    shapes = [*(lookup.schema for lookup in lookups), *parts]
    counts = [_Counts({}, {}) for _ in lookups]
    schema = pa.schema([field for shape in (labels.schema, *shapes) for field in shape])
    proven = pa.schema([field for shape in (question.schema, *shapes) for field in shape])
    hasher = ContentHasher(proven)

    def rows(streams: Sequence[Iterator[pa.RecordBatch]]) -> Iterator[pa.RecordBatch]:
        sources = [labels.batches(), asked(labels.batches(), timestamp=timestamp, keys=keys), *streams]
        aligned = [in_row_groups(iter(rows), shape) for rows, shape in zip(sources, [labels.schema, question.schema, *shapes], strict=True)]
        for label, place, *found in zip(*aligned, strict=True):
            for lookup, answers, count in zip(lookups, found, counts, strict=False):
                count.add(answers, lookup)
            added = [column for batch in found for column in batch.columns]
            hasher.update(pa.RecordBatch.from_arrays([*place.columns, *added], schema=proven))
            yield pa.RecordBatch.from_arrays([*label.columns, *added], schema=schema)

    with platform.engine.look_up(question, lookups, split=split) as streams, platform.training_sets.staged(schema, rows(streams)) as file:
        yield _Joined(file, hasher.hexdigest(), counts)


def _recorded(platform: Platform, item: UsedFeatureSet) -> Lookup:
    history = platform.feature_sets.history(item.feature_set)
    needed = [used for used in item.versions if used.rows and not used.is_gone]
    lost = gone_versions(platform.feature_sets, item.feature_set, history)
    faults = [f"{used.version} was removed by retention, which a pin should have prevented" for used in needed if used.version in lost]
    faults += [
        f"{used.version} has another file than the manifest says; expected SHA-256 {used.parquet_sha256}"
        for used in needed
        if used.version not in history.versions or history.versions[used.version].files[PARQUET].sha256 != used.parquet_sha256
    ]
    if faults:
        raise InvalidDataError(f"Versions of {item.feature_set} that the training set rests on are missing or altered:", faults)
    gone = {used.version for used in item.versions if used.is_gone}
    return Lookup(
        feature_set=item.feature_set,
        keys=tuple(pa.field(name, types.arrow_type(kind)) for name, kind in item.keys.items()),
        timestamp_field=item.timestamp_field,
        features=tuple(pa.field(feature, types.arrow_type(item.types[name])) for name, feature in item.features.items()),
        names=tuple(item.features),
        ttl=item.ttl,
        timeline=tuple(Known(used.since, used.version) for used in item.versions),
        open_version=opener(platform.feature_sets, item.feature_set, history, gone=gone),
    )


def _used(platform: Platform, lookup: Lookup, history: History) -> UsedFeatureSet:
    gone = gone_versions(platform.feature_sets, lookup.feature_set, history)
    found = [(entry, history.versions[entry.version]) for entry in lookup.timeline]
    return UsedFeatureSet(
        feature_set=lookup.feature_set,
        keys={key.name: type_name(key.type) for key in lookup.keys},
        timestamp_field=lookup.timestamp_field,
        features=dict(zip(lookup.names, (field.name for field in lookup.features), strict=True)),
        types=dict(zip(lookup.names, (type_name(field.type) for field in lookup.features), strict=True)),
        ttl=lookup.ttl,
        log_sequence=len(history.records),
        versions=tuple(
            UsedVersion(
                version=version.version,
                since=entry.since,
                schema_hash=version.schema_hash,
                content_hash=version.content_hash,
                parquet_sha256=version.files[PARQUET].sha256,
                is_gone=version.version in gone,
            )
            for entry, version in found
        ),
    )


def _pin(platform: Platform, name: str, sets: Sequence[UsedFeatureSet], *, actor: str) -> None:
    for item in sets:
        versions = sorted({used.version for used in item.versions if used.rows and not used.is_gone})
        reason = f"training set {name} rests on it"
        platform.feature_sets.pin(item.feature_set, *versions, name=_pin_name(name), actor=actor, reason=reason)


def _pin_name(name: str) -> str:
    return f"training-{name}"


def _keys(lookups: Sequence[Lookup]) -> list[pa.Field]:
    """The keys of all lookups, each once.

    Raises:
        InvalidDataError: Two feature sets have a key of one name and two types.
    """
    keys: dict[str, pa.Field] = {}
    for lookup in lookups:
        for key in lookup.keys:
            if keys.setdefault(key.name, key).type != key.type:
                raise InvalidDataError(f"Key {key.name!r} is {keys[key.name].type} in one feature set and {key.type} in another.")
    return list(keys.values())
