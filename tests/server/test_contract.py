"""Our server answers as Feast's does: bodies, errors and codes, for requests of every kind."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_platform.core.contract.feature_set import Contract
from tests.server.conftest import CONTRACTS, FIRST, PAIRS, SECOND, TYPED, TYPED_IDS, Pair
from tests.support.asgi import AsgiAnswer

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own; Feast warns of entity names.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

PATH = "/get-online-features"


def references(contract: Contract) -> list[str]:
    return [f"{contract.feature_set}:{column.name}" for column in contract.feature_columns]


def by_name(document: Any) -> Any:
    """Columns by name: Feast's order of features within a view is that of a set of strings."""
    if not isinstance(document, dict) or "results" not in document:
        return document
    names = document["metadata"].pop("feature_names")
    assert list(document) == ["results", "metadata"]
    return {**document, "results": dict(zip(names, document["results"], strict=True)), "count": len(names)}


def answers(pair: Pair, body: object, *, headers: Mapping[str, str] | None = None) -> tuple[AsgiAnswer, AsgiAnswer]:
    """Ours and Feast's, of equal status; with a row cache ours is the same, read and then kept."""
    ours, feast = pair.ours.post(PATH, body, headers=headers), pair.feast.post(PATH, body, headers=headers)
    assert ours.status == feast.status, (ours.body, feast.body)
    if ours.status == 200:
        for _ in ("read", "kept"):
            again = pair.kept.post(PATH, body, headers=headers)
            assert (again.status, again.headers.get("feature-version")) == (200, ours.headers.get("feature-version"))
            assert by_name(again.document) == by_name(ours.document)
    return ours, feast


def assert_equal(pair: Pair, body: object, *, native: bool | None = None, headers: Mapping[str, str] | None = None) -> Any:
    """The same answer from both; ``native`` says whether it must, or must not, come from our own path."""
    asked = pair.fallback.asked
    ours, feast = answers(pair, body, headers=headers)
    assert by_name(ours.document) == by_name(feast.document)
    if ours.body and native is not None:
        assert (pair.fallback.asked == asked) is native
    return ours


ORDINARY: dict[str, Any] = {
    "every type": {"features": references(TYPED), "entities": {"user_id": [*TYPED_IDS, 424242]}},
    "a service": {"feature_service": "typed", "entities": {"user_id": TYPED_IDS}},
    "a service wins over features": {"feature_service": "first", "features": ["nothing:at_all"], "entities": {"user_id": [1]}},
    "an empty service name is none": {"feature_service": "", "features": ["first:f_count"], "entities": {"user_id": [1]}},
    "repeated entities": {"features": references(FIRST), "entities": {"user_id": [1, 2, 1, 424242, 2]}},
    "full names": {"features": references(FIRST), "entities": {"user_id": [1]}, "full_feature_names": True},
    "two views of one entity, past ttl": {
        "features": [*references(FIRST), *references(SECOND)],
        "entities": {"user_id": [1, 2, 3, 4, 5]},
        "full_feature_names": True,
    },
    "views in turns": {"features": ["first:f_mean", "second:f_name", "first:f_count"], "entities": {"user_id": [2, 3]}},
    "two entities": {
        "features": ["first:f_count", "texts:f_count"],
        "entities": {"name": ["", "x"], "user_id": [1, 2]},
        "full_feature_names": True,
    },
    "text keys": {"features": ["texts:f_count"], "entities": {"name": ["x" * 200, "Zoë ✓", "", "nobody"]}},
    "short integer keys": {"features": ["small:f_count"], "entities": {"code": [1, -2, 3]}},
    "composite keys": {"features": references(PAIRS), "entities": {"item": [-2, 1, 7], "shop": ["ö", "b", "b"]}},
    "version metadata": {"features": references(FIRST), "entities": {"user_id": [1]}, "include_feature_view_version_metadata": True},
    "unknown columns": {"features": ["first:f_count"], "entities": {"user_id": [1, 2], "colour": ["red", "blue"], "size": [1.5, 2.5]}},
    "unknown fields": {"features": ["first:f_count"], "entities": {"user_id": [1]}, "whatever": {"a": 1}},
    "words for yes": {"features": ["first:f_count"], "entities": {"user_id": [1]}, "full_feature_names": "yes"},
}


@pytest.mark.parametrize("body", ORDINARY.values(), ids=ORDINARY.keys())
def test_ordinary_requests_are_answered_by_our_own_path_as_feast_answers_them(pair: Pair, body: Any) -> None:
    answer = assert_equal(pair, body, native=True)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"


REFUSED: dict[str, Any] = {
    "an unknown view": {"features": ["first:f_count", "nothing:at_all"], "entities": {"user_id": [1]}},
    "an unknown service": {"feature_service": "nothing", "entities": {"user_id": [1]}},
    "an unknown feature": {"features": ["first:f_count", "first:f_nothing"], "entities": {"user_id": [1]}},
    "a feature without its view": {"features": ["f_count"], "entities": {"user_id": [1]}},
    "no features": {"features": [], "entities": {"user_id": [1]}},
    "no entities field": {"features": ["first:f_count"]},
    "entities that are no lists": {"features": ["first:f_count"], "entities": {"user_id": 1}},
    "a body that is a list": [1, 2],
    "no JSON": b'{"entities": ',
    "nothing": b"",
    "no text": b"\xff\xfe",
    "a wrong type beside a wrong name": {"features": [1], "entities": {"user_id": ["x"]}, "full_feature_names": "perhaps"},
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_wrong_requests_are_refused_in_feasts_words_without_asking_it(pair: Pair, body: Any) -> None:
    assert assert_equal(pair, body, native=True).status >= 400


ODD: dict[str, Any] = {
    "a feature twice": {"features": ["first:f_count", "first:f_count"], "entities": {"user_id": [1]}},
    "two features of one name": {"features": ["first:f_count", "second:f_count"], "entities": {"user_id": [1]}},
    "no entity columns": {"features": ["first:f_count"], "entities": {}},
    "no entities": {"features": ["first:f_count"], "entities": {"user_id": []}},
    "another entity": {"features": ["first:f_count"], "entities": {"name": ["x"]}},
    "half a composite key": {"features": references(PAIRS), "entities": {"shop": ["ö"]}},
    "columns of different lengths": {"features": references(PAIRS), "entities": {"shop": ["ö"], "item": [1, 2]}},
    "a further column that is shorter": {"features": ["first:f_count"], "entities": {"user_id": [1, 2], "colour": ["red"]}},
    "text for a number": {"features": ["first:f_count"], "entities": {"user_id": ["1"]}},
    "a number for text": {"features": ["texts:f_count"], "entities": {"name": [1]}},
    "a fraction": {"features": ["first:f_count"], "entities": {"user_id": [1.5]}},
    "true": {"features": ["first:f_count"], "entities": {"user_id": [True]}},
    "null": {"features": ["first:f_count"], "entities": {"user_id": [None, 1]}},
    "a number that is too large": {"features": ["first:f_count"], "entities": {"user_id": [2**63]}},
    "a number that is too large for a short key": {"features": ["small:f_count"], "entities": {"code": [2**31]}},
    "the entity's name": {"features": ["first:f_count"], "entities": {"user": [1, 2]}},
    "a join key of another view": {"features": ["first:f_count"], "entities": {"user_id": [1], "name": ["x"]}},
    "nested values beside": {"features": ["first:f_count"], "entities": {"user_id": [1], "colour": [{"a": 1}]}},
    "a version of the view": {"features": ["first@v2:f_count"], "entities": {"user_id": [1]}},
    "the latest version of the view": {"features": ["first@latest:f_count"], "entities": {"user_id": [1]}},
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD.keys())
def test_odd_requests_are_answered_as_feast_answers_them(pair: Pair, body: Any) -> None:
    assert_equal(pair, body, native=False)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/json; charset=utf-8", "application/vnd.api+json"])
def test_content_types_are_judged_as_feast_judges_them(pair: Pair, kind: str) -> None:
    assert_equal(pair, {"features": ["first:f_count"], "entities": {"user_id": [1]}}, native=True, headers={"content-type": kind})


CHOICES = [reference for contract in CONTRACTS for reference in references(contract)]
KEYS = {"user_id": [*TYPED_IDS, 1, 2, 3, 4, 5], "name": ["", "x", "Zoë ✓"], "code": [1, -2, 9], "shop": ["ö", "b"], "item": [1, -2]}
STRANGE = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=3))


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """Requests that are mostly right: any features, keys of the right names, sometimes anything at all."""
    wanted = draw(st.lists(st.sampled_from([*CHOICES, *CHOICES, "first:nothing", "nothing:x"]), min_size=1, max_size=6))
    rows = draw(st.integers(1, 4))
    names = draw(st.sets(st.sampled_from(sorted(KEYS)), min_size=1, max_size=5))
    ordinary = draw(st.integers(0, 9)) > 1
    values = {name: st.sampled_from(known) if ordinary else st.one_of(st.sampled_from(known), STRANGE) for name, known in KEYS.items()}
    entities = {name: draw(st.lists(values[name], min_size=rows, max_size=rows)) for name in sorted(names)}
    service = draw(st.sampled_from([None, None, "typed", "first", "second", "pairs"]))
    flags = {"full_feature_names": draw(st.booleans()), "include_feature_view_version_metadata": draw(st.booleans())}
    return {"features": wanted, "entities": entities, **({"feature_service": service} if service else {}), **flags}


@given(body=requests())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
def test_generated_requests_are_answered_as_feast_answers_them(pair: Pair, body: dict[str, Any]) -> None:
    ours, feast = answers(pair, body)
    if ours.status == 500 and b"Duplicate features" in ours.body:
        return  # lists the names in the order of a set
    assert by_name(ours.document) == by_name(feast.document)


def test_every_message_that_is_declared_here_is_feasts() -> None:
    """Names, numbers and types, from Feast's own descriptors."""
    from feast.protos.feast.core import (
        Entity_pb2,
        Feature_pb2,
        FeatureService_pb2,
        FeatureView_pb2,
        FeatureViewProjection_pb2,
        Registry_pb2,
    )
    from feast.protos.feast.types import Value_pb2

    from feature_platform.core.online.messages import DECLARED, message

    modules = (Registry_pb2, Entity_pb2, FeatureView_pb2, FeatureService_pb2, FeatureViewProjection_pb2, Feature_pb2, Value_pb2)
    known = {name: kind for module in modules for name, kind in module.DESCRIPTOR.message_types_by_name.items()}
    known["Column"] = known["Value"]
    for name in DECLARED.keys() - {"OtherView", "OtherViewSpec", "Duration"}:
        for field in message(name).DESCRIPTOR.fields:
            theirs = known[name].fields_by_name[field.name]
            assert theirs.number == field.number, (name, field.name)
            enum_as_number = theirs.type == theirs.TYPE_ENUM and field.type == field.TYPE_INT32
            assert theirs.type == field.type or enum_as_number, (name, field.name)


def test_our_request_model_is_feasts() -> None:
    from feast.feature_server import GetOnlineFeaturesRequest

    from feature_platform.server.feast_model import GetOnlineFeaturesRequest as Ours

    def schema(model: Any) -> Any:
        return {key: value for key, value in json.loads(json.dumps(model.model_json_schema())).items() if key != "description"}

    assert schema(Ours) == schema(GetOnlineFeaturesRequest)
