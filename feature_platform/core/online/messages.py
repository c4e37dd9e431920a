"""The protobuf messages of Feast that readers need, declared here because importing Feast's own takes seconds.

Field numbers and types are Feast 0.67's; a test compares them with Feast's descriptors. Fields that are not declared are skipped. What
the messages mean does not belong here (``server.served_registry``, ``core.online.decoding``).
"""

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE: Final = "feature_platform.served"
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS: Final = {
    "bool": _Field.TYPE_BOOL,
    "bytes": _Field.TYPE_BYTES,
    "double": _Field.TYPE_DOUBLE,
    "float": _Field.TYPE_FLOAT,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "string": _Field.TYPE_STRING,
}

DECLARED: Final[Mapping[str, Mapping[str, tuple[int, str]]]] = {
    "Registry": {
        "entities": (1, "repeated Entity"),
        "feature_views": (6, "repeated FeatureView"),
        "feature_services": (7, "repeated FeatureService"),
        "on_demand_feature_views": (8, "repeated OtherView"),
        "stream_feature_views": (14, "repeated OtherView"),
        "label_views": (19, "repeated OtherView"),
    },
    "Entity": {"spec": (1, "EntitySpecV2")},
    "EntitySpecV2": {"name": (1, "string"), "join_key": (4, "string"), "project": (9, "string")},
    "FeatureView": {"spec": (1, "FeatureViewSpec"), "meta": (2, "FeatureViewMeta")},
    "FeatureViewSpec": {
        "name": (1, "string"),
        "project": (2, "string"),
        "entities": (3, "repeated string"),
        "features": (4, "repeated FeatureSpecV2"),
        "tags": (5, "map"),
        "ttl": (6, "Duration"),
        "entity_columns": (12, "repeated FeatureSpecV2"),
        "disabled": (20, "bool"),
    },
    "FeatureViewMeta": {"current_version_number": (4, "int32"), "state": (6, "int32")},
    "OtherView": {"spec": (1, "OtherViewSpec")},
    "OtherViewSpec": {"name": (1, "string"), "project": (2, "string")},
    "FeatureSpecV2": {"name": (1, "string"), "value_type": (2, "int32")},
    "FeatureService": {"spec": (1, "FeatureServiceSpec")},
    "FeatureServiceSpec": {
        "name": (1, "string"),
        "project": (2, "string"),
        "features": (3, "repeated FeatureViewProjection"),
        "tags": (4, "map"),
        "precompute_online": (8, "bool"),
    },
    "FeatureViewProjection": {
        "feature_view_name": (1, "string"),
        "feature_columns": (2, "repeated FeatureSpecV2"),
        "feature_view_name_alias": (3, "string"),
        "join_key_map": (4, "map"),
        "version_tag": (10, "optional int32"),
    },
    "Duration": {"seconds": (1, "int64"), "nanos": (2, "int32")},
    # A column of ``Value`` messages, one behind the other, read as one message: each field of the choice is a repeated one here.
    "Column": {
        "bytes_val": (1, "repeated bytes"),
        "string_val": (2, "repeated string"),
        "int32_val": (3, "repeated int32"),
        "int64_val": (4, "repeated int64"),
        "double_val": (5, "repeated double"),
        "float_val": (6, "repeated float"),
        "bool_val": (7, "repeated bool"),
        "unix_timestamp_val": (8, "repeated int64"),
        "bytes_list_val": (11, "repeated BytesList"),
        "string_list_val": (12, "repeated StringList"),
        "int32_list_val": (13, "repeated Int32List"),
        "int64_list_val": (14, "repeated Int64List"),
        "double_list_val": (15, "repeated DoubleList"),
        "float_list_val": (16, "repeated FloatList"),
        "bool_list_val": (17, "repeated BoolList"),
        "unix_timestamp_list_val": (18, "repeated Int64List"),
    },
    "BytesList": {"val": (1, "repeated bytes")},
    "StringList": {"val": (1, "repeated string")},
    "Int32List": {"val": (1, "repeated int32")},
    "Int64List": {"val": (1, "repeated int64")},
    "DoubleList": {"val": (1, "repeated double")},
    "FloatList": {"val": (1, "repeated float")},
    "BoolList": {"val": (1, "repeated bool")},
}
"""Message → field → number and type. Enumerations are read as their numbers."""


def _file() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="feature_platform/served.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in DECLARED.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _add(message, field, number, kind)
    return file


def _add(message: Any, name: str, number: int, kind: str) -> None:
    *labels, kind = kind.split(" ")
    field = message.field.add(name=name, number=number, label=_Field.LABEL_OPTIONAL)
    if kind == "map":
        entry = message.nested_type.add(name="".join(part.title() for part in name.split("_")) + "Entry")
        entry.options.map_entry = True
        _add(entry, "key", 1, "string")
        _add(entry, "value", 2, "string")
        kind, labels = f"{message.name}.{entry.name}", ["repeated"]
    if "repeated" in labels:
        field.label = _Field.LABEL_REPEATED
    if "optional" in labels:
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"


_POOL: Final = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def message(name: str) -> Any:
    """The class of a declared message."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
