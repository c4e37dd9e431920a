"""``feature_store.yaml`` and the Python configuration are one; both name the plugins."""

import subprocess
import sys
from pathlib import Path

import pytest

from feature_platform.adapters.feast.repository import open_store
from feature_platform.adapters.online_store.redis_connection import parse_address
from feature_platform.errors import ConfigurationError
from feature_platform.settings import load_settings
from feature_platform.wiring import feast_environment
from tests.support.shipped_features import enter

# Importing Feast, redis and their protobuf code raises DeprecationWarnings of their own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

REPOSITORY = Path(__file__).parents[2] / "feast_repo"
SECTIONS = ("registry", "online_store", "offline_store", "batch_engine", "materialization_config")


def environment() -> dict[str, str]:
    return {
        "FEATURE_PLATFORM_ENV": "dev",
        "FEATURE_PLATFORM_RAW_URI": "s3://bucket/raw",
        "FEATURE_PLATFORM_WORK_URI": "s3://bucket/work",
        "FEATURE_PLATFORM_FEATURE_BASE": "s3://bucket/features",
        "FEATURE_PLATFORM_REGISTRY_URI": "s3://bucket/feast",
        "FEATURE_PLATFORM_REDIS": "redis.example:6379,db=2,ssl=true",
        "FEATURE_PLATFORM_CONTRACTS_DIR": str(REPOSITORY / "contracts"),
        "FEATURE_PLATFORM_START_DATE": "2026-01-01",
    }


def test_the_yaml_and_the_function_configure_the_same_store(monkeypatch: pytest.MonkeyPatch) -> None:
    from feast.repo_config import load_repo_config

    enter(monkeypatch, environment())
    by_hand = load_repo_config(REPOSITORY, REPOSITORY / "feature_store.yaml")
    in_runs = open_store(feast_environment(load_settings())).config
    assert by_hand.project == in_runs.project == "feature_store_dev"
    assert by_hand.entity_key_serialization_version == in_runs.entity_key_serialization_version == 3
    for section in SECTIONS:
        assert getattr(by_hand, section) == getattr(in_runs, section), section


def test_the_configuration_avoids_the_measured_traps(monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, environment())
    config = open_store(feast_environment(load_settings())).config
    assert config.registry.path == "s3://bucket/feast/dev/registry.pb"
    assert config.registry.serve_features_while_materializing
    assert config.online_store.skip_dedup
    assert config.online_store.full_scan_for_deletion is False
    assert config.materialization_config.online_write_batch_size == 10_000


def test_client_timeouts_are_added_where_the_connection_string_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, environment())
    store = open_store(feast_environment(load_settings()))
    options = store.provider.online_store._get_client(store.config.online_store).connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"], options["db"]) == (0.5, 0.5, 2)


def test_given_client_timeouts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    enter(monkeypatch, {**environment(), "FEATURE_PLATFORM_REDIS": "redis.example:6379,socket_timeout=0.2"})
    store = open_store(feast_environment(load_settings()))
    options = store.provider.online_store._get_client(store.config.online_store).connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (0.2, 0.5)


def test_an_environment_that_was_not_exported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from feast import FeatureStore

    enter(monkeypatch, {**environment(), "AWS_EC2_METADATA_DISABLED": "true"})
    monkeypatch.delenv("FEATURE_PLATFORM_REGISTRY_URI")
    store = FeatureStore(repo_path=str(REPOSITORY))
    with pytest.raises(ConfigurationError, match="Export the environment"):
        _ = store.registry


OPENED = """
import typeguard
before = typeguard.typechecked
from feature_platform.adapters.feast.repository import open_store
from feature_platform.settings import load_settings
from feature_platform.wiring import feast_environment
open_store(feast_environment(load_settings()))
from feast import Entity, FeatureView
print([kind.__name__ for kind in (Entity, FeatureView) if any("check_argument" in name for name in kind.__init__.__code__.co_names)])
print(typeguard.typechecked is before)
"""


def test_a_step_that_serves_does_not_wait_for_feasts_classes_to_be_compiled_twice(tmp_path: Path) -> None:
    """That is most of what importing Feast takes, and importing Feast most of what loading a small feature set takes."""
    answer = subprocess.run(
        [sys.executable, "-c", OPENED], env=environment(), cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
    )
    assert answer.stdout == "[]\nTrue\n", answer.stderr


@pytest.mark.parametrize(
    "option", [{"key_ttl_seconds": 60}, {"full_scan_for_deletion": True}, {"redis_type": "redis_sentinel"}, {"typo": 1}]
)
def test_refuses_options_of_the_online_store_that_it_would_ignore(option: dict[str, object]) -> None:
    from pydantic import ValidationError

    from feature_platform.feast_plugins.online_store import BoundedRedisOnlineStoreConfig

    with pytest.raises((ConfigurationError, ValidationError), match=next(iter(option))):
        BoundedRedisOnlineStoreConfig(connection_string="redis.example:6379", **option)
    BoundedRedisOnlineStoreConfig(connection_string="sentinel.example:26379,sentinel_master=features", redis_type="redis_sentinel")


def test_a_timeout_of_the_connection_string_that_is_no_number_is_said() -> None:
    with pytest.raises(ConfigurationError, match="socket_timeout: expected seconds, found 'abc'"):
        parse_address("localhost:6379,socket_timeout=abc")


def test_options_of_the_connection_string_that_the_platform_decides_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_address("localhost:6379,password=secret,decode_responses=true,protocol=3")
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["decode_responses", "protocol"]
    assert "secret" not in str(caught.value)
    found = parse_address("localhost:6379,db=1,skip_full_coverage_check=true,retry=null").options
    assert (found["db"], "retry" in found) == (1, False)
