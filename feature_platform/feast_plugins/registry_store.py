"""Feast's registry on S3, written with compare-and-set.

``feature_store.yaml`` names :class:`ConditionalRegistryStore` as ``registry.registry_store_type``. How two changes become one does not
belong here (``registry_merge``), nor does S3 itself (``adapters.object_store.s3``). Decision: docs/adr/0003-registry-compare-and-set.md.
"""

import hashlib
import logging
import random
import threading
import time
import uuid
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from feast.infra.registry.registry_store import RegistryStore
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from google.protobuf.message import DecodeError

from feature_platform.core.objects import Condition, IfAbsent, IfMatch, StoredObject
from feature_platform.errors import ConfigurationError, ConflictError, NotFoundError, StorageError, UnknownOutcomeError
from feature_platform.feast_plugins.registry_merge import KNOWN_FIELDS, Merge, merge
from feature_platform.ports.object_store import ObjectStore
from feature_platform.wiring import s3_at

DEADLINE_S: Final = 60.0
"""How long an update is repeated after conflicts before it fails; eight simultaneous writers need about one second."""

RETRY_AFTER_S: Final = 15.0
"""How long after a failed read a reader uses the registry it has, before it tries to read again."""

_PATIENCE_S: Final = 1.0
"""How long reading a registry again may take: not long, because Feast's other readers wait meanwhile."""

_BASES_KEPT: Final = 16
"""How many registries that were read lately are kept: Feast may hand back a change against any of them."""

_log = logging.getLogger(__name__)


class ConditionalRegistryStore(RegistryStore):  # type: ignore[misc]  # Feast ships no types
    """A registry store whose readers never write and whose writers never lose each other's objects.

    Only an absent object (404) is an empty registry. Anything unreadable is an error and is never overwritten; an update is applied to
    what is stored now, under a condition, and again after a conflict.

    Args:
        registry_config: Feast's ``registry`` section; ``path`` is an ``s3://`` URI.
        repo_path: Where ``feature_store.yaml`` lies; not used.
        objects: The object store; S3 by the ordinary credential chain where left out.
    """

    def __init__(self, registry_config: Any, repo_path: Path | None, *, objects: ObjectStore | None = None) -> None:
        del repo_path
        self._uri = _registry_uri(registry_config.path)
        self._objects = objects if objects is not None else s3_at()
        self._brief_objects = objects if objects is not None else s3_at(patience_s=_PATIENCE_S)
        self._lock = threading.RLock()
        self._bases: OrderedDict[str, bytes] = OrderedDict()
        self._last: bytes | None = None
        self._retry_at_s = 0.0
        unknown = {field.name for field in RegistryProto.DESCRIPTOR.fields} - KNOWN_FIELDS
        if unknown:
            raise ConfigurationError(f"Feast's registry has fields that are not merged here: {', '.join(sorted(unknown))}. Use Feast 0.67.")

    def get_registry_proto(self) -> Any:
        """The stored registry; an empty one where there is none yet.

        After a first success, a failed read is logged as an error and the registry that was read last is returned: readers continue, and a
        writer that starts from it meets the same error when it writes.

        Raises:
            StorageError: At the first read, the store cannot be reached, or the object is empty or no registry.
            ConfigurationError: At the first read, credentials or bucket are wrong.
        """
        with self._lock:
            if self._last is None:
                stored = self._read(self._objects)
                return RegistryProto() if stored is None else self._remember(stored)
            return self._read_again(self._last)

    def _read_again(self, last: bytes) -> Any:
        if time.monotonic() < self._retry_at_s:
            return RegistryProto.FromString(last)
        try:
            stored = self._read(self._brief_objects)
            assert stored is not None, "an absent registry that was there before is an error"
            return self._remember(stored)
        except (StorageError, ConfigurationError, NotFoundError) as error:
            self._retry_at_s = time.monotonic() + RETRY_AFTER_S
            _log.error("Feast registry %s could not be read again; going on with what was read before. %s", self._uri, error)
            return RegistryProto.FromString(last)

    def update_registry_proto(self, registry_proto: Any) -> None:
        """Apply the change that ``registry_proto`` contains to the stored registry; afterwards ``registry_proto`` is the merged one.

        The change is its difference from the registry that this store had returned under the same ``version_id``. Without a difference
        nothing is written.

        Raises:
            ConflictError: Other writers were first until the deadline, or the registry was removed meanwhile.
            StorageError, ConfigurationError: As for reading; nothing was written.
            UnknownOutcomeError: A write was sent, and it may or may not have happened.
        """
        with self._lock:
            base = self._base_of(registry_proto.version_id)
            ours = RegistryProto()
            ours.CopyFrom(registry_proto)
            registry_proto.CopyFrom(self._apply(base, ours))

    def _base_of(self, version_id: str) -> Any:
        if version_id and version_id not in self._bases:
            raise ConflictError(
                f"Feast registry {self._uri} is to be changed from version {version_id}, which was not read here. Read it again."
            )
        return RegistryProto.FromString(self._bases.get(version_id, b""))

    def teardown(self) -> None:
        with self._lock:
            self._objects.delete(self._uri)
            self._bases.clear()
            self._last = None

    def _apply(self, base: Any, ours: Any) -> Any:
        written: set[str] = set()
        deadline_s, attempt = time.monotonic() + DEADLINE_S, 0
        unknown: UnknownOutcomeError | None = None
        while True:
            stored = self._read(self._objects)
            theirs = self._remember(stored) if stored is not None else RegistryProto()
            if theirs.version_id and theirs.version_id in written:
                return theirs
            merged = merge(base=base, ours=ours, theirs=theirs)
            if merged.kept and not attempt:
                _log.warning(_KEPT, len(merged.kept), ", ".join(merged.kept))
            if not merged.changed:
                return theirs
            version_id = str(uuid.uuid4())
            written.add(version_id)
            try:
                return self._write(merged, version_id, IfMatch(stored.info.etag) if stored is not None else IfAbsent())
            except ConflictError as error:
                if time.monotonic() > deadline_s:
                    raise unknown or ConflictError(
                        f"Feast registry {self._uri} was changed by others {attempt + 1} times in {DEADLINE_S:.0f} s while this change "
                        "was being applied; it was not applied. Try again."
                    ) from error
            except UnknownOutcomeError as error:
                # Trying again is safe: the condition lets only one of the two attempts succeed.
                unknown = error
                if time.monotonic() > deadline_s:
                    raise
            attempt += 1
            time.sleep(random.uniform(0, min(1.0, 0.02 * 2**attempt)))  # noqa: S311  spreads writers, guards nothing

    def _write(self, merged: Merge, version_id: str, condition: Condition) -> Any:
        registry = merged.registry
        registry.version_id = version_id
        registry.last_updated.FromDatetime(datetime.now(UTC))
        body = registry.SerializeToString()
        digest = hashlib.sha256(body).hexdigest()
        self._objects.put(self._uri, body, write_id=version_id, sha256=digest, condition=condition)
        self._keep(version_id, body)
        return registry

    def _read(self, objects: ObjectStore) -> StoredObject | None:
        stored = objects.get(self._uri)
        if stored is None:
            if self._last is not None:
                raise NotFoundError(f"Feast registry {self._uri} was there before and is gone. Restore it or apply every contract again.")
            return None
        if not stored.body:
            raise UnreadableRegistryError(f"Feast registry {self._uri} has zero bytes. {_RESTORE}")
        found = hashlib.sha256(stored.body).hexdigest()
        if stored.info.sha256 and found != stored.info.sha256:
            raise UnreadableRegistryError(
                f"Feast registry {self._uri} is damaged: expected SHA-256 {stored.info.sha256}, found {found} in {len(stored.body)} bytes. "
                f"{_RESTORE}"
            )
        return stored

    def _remember(self, stored: StoredObject) -> Any:
        try:
            registry = RegistryProto.FromString(stored.body)
        except DecodeError as error:
            raise UnreadableRegistryError(
                f"Feast registry {self._uri} is no registry: {len(stored.body)} bytes that cannot be parsed ({error}). {_RESTORE}"
            ) from error
        if not registry.version_id:
            raise UnreadableRegistryError(f"Feast registry {self._uri} is no registry: it has no version_id. {_RESTORE}")
        self._keep(registry.version_id, stored.body)
        return registry

    def _keep(self, version_id: str, body: bytes) -> None:
        self._bases[version_id] = self._last = body
        self._bases.move_to_end(version_id)
        while len(self._bases) > _BASES_KEPT:
            self._bases.popitem(last=False)


class UnreadableRegistryError(StorageError):
    """The object under the registry's key is not a whole registry; it is left as it is."""


_KEPT: Final = (
    "Kept %d object(s) that this checkout lacks: %s. An apply never deletes; remove one on purpose with `feast delete <name>`, or a whole "
    "feature set by decommissioning it."
)
_RESTORE: Final = "Nothing was written. Restore an earlier version of the object, or remove it and apply every contract again."


def _registry_uri(path: str) -> str:
    scheme, separator, rest = path.partition("://")
    if scheme != "s3" or not separator or "$" in rest:
        raise ConfigurationError(
            f"Feast's registry path is {path!r}; expected s3://bucket/key. Export the environment that `feature-platform up` prints."
        )
    return "s3://" + "/".join(part for part in rest.split("/") if part)
