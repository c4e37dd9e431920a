"""A three-way merge of Feast registries: the change that one writer made since it read, applied to what is stored now.

Feast hands a registry store the whole registry, so the intended change is the difference between that and what Feast had read. Pure:
protobuf messages in, a message out. Reading and writing them does not belong here (``registry_store``).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from feast.protos.feast.core.FeatureView_pb2 import FeatureView as FeatureViewProto
from feast.protos.feast.core.LabelView_pb2 import LabelView as LabelViewProto
from feast.protos.feast.core.OnDemandFeatureView_pb2 import OnDemandFeatureView as OnDemandFeatureViewProto
from feast.protos.feast.core.Registry_pb2 import Registry as RegistryProto
from feast.protos.feast.core.StreamFeatureView_pb2 import StreamFeatureView as StreamFeatureViewProto

Key = tuple[str, ...]

_INCIDENTAL: Final = frozenset({"created_timestamp", "last_updated_timestamp", "data_source_class_type"})
"""Fields that Feast renews, or leaves out when it updates a view in place, even where nothing changed."""

_DUMMY_ENTITY: Final = "__dummy"
"""The entity of views without entities; every apply renews it."""

_VIEW_TYPES: Final[dict[str, tuple[str, Any]]] = {
    "feature_view": ("feature_views", FeatureViewProto),
    "on_demand_feature_view": ("on_demand_feature_views", OnDemandFeatureViewProto),
    "stream_feature_view": ("stream_feature_views", StreamFeatureViewProto),
    "label_view": ("label_views", LabelViewProto),
}


def _in_spec(item: Any) -> Key:
    return (item.spec.project, item.spec.name)


def _direct(item: Any) -> Key:
    return (item.project, item.name)


def _record_key(record: Any) -> Key:
    return (record.project_id, record.feature_view_name, str(record.version_number))


_KEYS: Final[dict[str, Callable[[Any], Key]]] = {
    "projects": lambda item: (item.spec.name,),
    "project_metadata": lambda item: (item.project,),
    "data_sources": _direct,
    "entities": _in_spec,
    "feature_tables": _in_spec,
    "feature_views": _in_spec,
    "on_demand_feature_views": _in_spec,
    "stream_feature_views": _in_spec,
    "label_views": _in_spec,
    "feature_services": _in_spec,
    "saved_datasets": _in_spec,
    "validation_references": _direct,
    "permissions": _in_spec,
}
"""Every repeated field of a registry → a function that gives an item's key. Other fields are handled one by one."""

KNOWN_FIELDS: Final = frozenset({*_KEYS, "infra", "feature_view_version_history", "registry_schema_version", "version_id", "last_updated"})
"""The fields that this merge handles; another field means a release of Feast that it was not written for."""


@dataclass(frozen=True, slots=True)
class Merge:
    """The outcome of a merge.

    ``changed`` says whether ``registry`` differs from what was stored; ``kept`` names the objects (``field/name``) that the writer
    left out while applying others, and that were not deleted.
    """

    registry: RegistryProto
    changed: bool
    kept: tuple[str, ...]


def merge(*, base: RegistryProto, ours: RegistryProto, theirs: RegistryProto) -> Merge:
    """Apply to ``theirs`` the change that leads from ``base`` to ``ours``.

    An object that only ``ours`` has is added, one that ``ours`` changed is changed, and one that ``ours`` lacks is deleted only where
    the change is deliberate (:func:`is_deliberate_deletion`): an apply from a checkout that lacks a view never deletes it.
    """
    result = RegistryProto()
    result.CopyFrom(theirs)
    deliberate = is_deliberate_deletion(base=base, ours=ours)
    kept: list[str] = []
    for field, key_of in _KEYS.items():
        gone = _merge_field(result, base, ours, field, key_of, delete=deliberate)
        kept += [] if deliberate else [f"{field}/{key[-1]}" for key in gone]
    _merge_history(result, base, ours, delete=deliberate)
    if ours.infra != base.infra:
        result.infra.CopyFrom(ours.infra)
    if not result.registry_schema_version:
        result.registry_schema_version = ours.registry_schema_version
    return Merge(registry=result, changed=not same(result, theirs), kept=tuple(kept))


def is_deliberate_deletion(*, base: RegistryProto, ours: RegistryProto) -> bool:
    """Whether a change deletes on purpose.

    Feast's delete calls change nothing else, and ``feast delete`` deletes one object and renews the dummy entity; an apply renews every
    object of its checkout while it deletes what the checkout lacks.
    """
    deleted = renewed = 0
    for field, key_of in _KEYS.items():
        before, after = _by_key(getattr(base, field), key_of), _by_key(getattr(ours, field), key_of)
        deleted += len(before.keys() - after.keys())
        renewed += sum(key[-1] != _DUMMY_ENTITY and before.get(key) != item for key, item in after.items())
    dummy_renewed = [item for item in ours.entities if item.spec.name == _DUMMY_ENTITY] != [
        item for item in base.entities if item.spec.name == _DUMMY_ENTITY
    ]
    return renewed == 0 and (deleted == 1 or not dummy_renewed)


def same(left: Any, right: Any) -> bool:
    """Whether two messages are equal apart from timestamps and version ids."""
    return bool(_essence(left) == _essence(right))


def _essence(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    _clear_incidental(copy)
    return copy


def _clear_incidental(message: Any) -> None:
    if isinstance(message, RegistryProto):
        message.ClearField("version_id")
        message.ClearField("last_updated")
    for field, value in message.ListFields():
        if field.name in _INCIDENTAL:
            message.ClearField(field.name)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for item in (value,) if hasattr(value, "ListFields") else value:
                _clear_incidental(item)


def _by_key(items: Iterable[Any], key_of: Callable[[Any], Key]) -> dict[Key, Any]:
    return {key_of(item): item for item in items}


def _merge_field(
    result: RegistryProto, base: RegistryProto, ours: RegistryProto, field: str, key_of: Callable[[Any], Key], *, delete: bool
) -> list[Key]:
    """Merge one repeated field into ``result`` and return the keys that ``ours`` left out."""
    items = getattr(result, field)
    before, after, stored = (_by_key(getattr(registry, field), key_of) for registry in (base, ours, result))
    gone = [key for key in before if key not in after]
    for key, item in after.items():
        old, current = before.get(key), stored.get(key)
        if old is not None and current is None and not _definition_changed(old, item):
            continue  # another writer deleted it, and our change does not add it again
        if current is None:
            items.add().CopyFrom(item)
        elif old is None or not same(old, item):
            _merge_item(current, old, item)
    if delete:
        for key in gone:
            for index, item in reversed(list(enumerate(items))):
                if key_of(item) == key:
                    del items[index]
    return gone


def _definition_changed(old: Any, new: Any) -> bool:
    return not same(old.spec, new.spec) if _has(new, "spec") else not same(old, new)


def _has(message: Any, field: str) -> bool:
    return field in message.DESCRIPTOR.fields_by_name


def _merge_item(current: Any, old: Any | None, new: Any) -> None:
    """Apply one object's change to its stored message, which another writer may have changed too."""
    if not (_has(new, "spec") and _has(new, "meta")):
        current.CopyFrom(new)
        return
    if (old is None or not same(old.spec, new.spec)) and not same(current.spec, new.spec):
        current.spec.CopyFrom(new.spec)
        if _has(new.meta, "current_version_number"):
            current.meta.current_version_number = new.meta.current_version_number
    _merge_meta(current.meta, old.meta if old is not None else None, new.meta)


def _merge_meta(current: Any, old: Any | None, new: Any) -> None:
    if _has(new, "last_updated_timestamp"):
        ours, theirs = new.last_updated_timestamp, current.last_updated_timestamp
        if (ours.seconds, ours.nanos) > (theirs.seconds, theirs.nanos):
            theirs.CopyFrom(ours)
    if _has(new, "state") and old is not None and old.state != new.state:
        current.state = new.state
    if not _has(new, "materialization_intervals"):
        return
    known = [*current.materialization_intervals, *(old.materialization_intervals if old is not None else ())]
    for interval in new.materialization_intervals:
        if interval not in known:
            current.materialization_intervals.add().CopyFrom(interval)


def _merge_history(result: RegistryProto, base: RegistryProto, ours: RegistryProto, *, delete: bool) -> None:
    """Append our new version records; one whose number another writer used meanwhile for another definition gets the next free number."""
    records = result.feature_view_version_history.records
    before = _by_key(base.feature_view_version_history.records, _record_key)
    after = _by_key(ours.feature_view_version_history.records, _record_key)
    stored = _by_key(records, _record_key)
    for key in [key for key in before if key not in after] if delete else ():
        for index, record in reversed(list(enumerate(records))):
            if _record_key(record) == key:
                del records[index]
    for key in [key for key in after if key not in before]:
        if key not in stored:
            records.add().CopyFrom(after[key])
        elif _definition(stored[key]) != _definition(after[key]):
            _append_renumbered(result, after[key])


def _append_renumbered(result: RegistryProto, record: Any) -> None:
    records = result.feature_view_version_history.records
    same_view = [item.version_number for item in records if _record_key(item)[:2] == _record_key(record)[:2]]
    added = records.add()
    added.CopyFrom(record)
    added.version_number = max(same_view) + 1
    for view in _views(result, record.feature_view_type):
        if _in_spec(view) == _record_key(record)[:2]:
            view.meta.current_version_number = added.version_number


def _definition(record: Any) -> bytes:
    _, message_type = _VIEW_TYPES[record.feature_view_type]
    spec: bytes = _essence(message_type.FromString(record.feature_view_proto).spec).SerializeToString(deterministic=True)
    return spec


def _views(registry: RegistryProto, kind: str) -> Iterator[Any]:
    yield from getattr(registry, _VIEW_TYPES[kind][0])
