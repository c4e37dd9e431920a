"""The published version that ought to be online: the head of a feature set's log, as a request to load it.

Loading it does not belong here (``adapters.online_store.redis_store``), nor deciding what the head is (``core.publishing.publication``).
"""

from dataclasses import dataclass
from datetime import datetime

from feature_platform.adapters.feature_set_store.feature_sets import ObjectFeatureSetStore
from feature_platform.core.layout import SCHEMA
from feature_platform.core.online.load import OnlineLoad
from feature_platform.core.versions.proof import contract_of
from feature_platform.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class PublishedHead:
    """The head of a log: the moment it is true as of, and the request that makes it what is online."""

    as_of: datetime
    load: OnlineLoad


def published_head(feature_sets: ObjectFeatureSetStore, feature_set: str, *, project: str) -> PublishedHead:
    """The head of a feature set's log, with the contract it was built by.

    Args:
        feature_sets: Where versions are.
        feature_set: Of which.
        project: The Feast project that serves it.

    Raises:
        NotFoundError: Nothing was published yet, or the head's files are gone.
        StorageError: The log or the version's contract could not be read.
    """
    history = feature_sets.history(feature_set)
    if history.head is None:
        raise NotFoundError(f"{feature_set} has no published version; materialize it first, e.g. in the Dagster UI.")
    version = history.versions[history.head.version]
    uri = feature_sets.layout(feature_set).version_file(version.version, SCHEMA)
    document = feature_sets.objects.get(uri)
    if document is None:
        raise NotFoundError(f"{uri} is gone although the log names {version.version} as the head; roll back to another version.")
    request = OnlineLoad(
        contract=contract_of(document.body, feature_set=feature_set),
        project=project,
        version=version.version,
        sequence=history.head.sequence,
        schema_hash=version.schema_hash,
        content_hash=version.content_hash,
        source=lambda: feature_sets.open_features(feature_set, version.version),
        earlier=lambda name: feature_sets.open_features(feature_set, name),
    )
    return PublishedHead(as_of=version.as_of, load=request)
