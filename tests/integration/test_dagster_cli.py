"""The platform under Dagster's own command line, as the README shows it: processes of their own, a real instance, no daemon."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from feature_platform.cli.environment import prepare_instance
from feature_platform.core.layout import as_of, version_id
from feature_platform.settings import load_settings
from feature_platform.wiring import Platform, open_platform
from tests.support.dagster_commands import MODULE, dagster
from tests.support.platforms import put_events

pytestmark = pytest.mark.slow

TODAY = datetime.now(UTC).date()
DAYS = [(TODAY - timedelta(days=back)).isoformat() for back in (6, 5, 4, 3, 2, 1)]
VERSIONS = [version_id(as_of(day)) for day in DAYS]


@pytest.fixture(scope="module")
def environment(module_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of every process, over raw events of six days."""
    dagster_home = prepare_instance(tmp_path_factory.mktemp("dagster"))
    variables = {**module_env, "FEATURE_PLATFORM_START_DATE": DAYS[0], "DAGSTER_HOME": str(dagster_home)}
    platform = open_platform(load_settings(variables))
    for day in DAYS:
        put_events(platform, day)
    return {**os.environ, **variables}


@pytest.fixture(scope="module")
def platform(environment: dict[str, str]) -> Platform:
    return open_platform(load_settings({name: value for name, value in environment.items() if name.startswith("FEATURE_PLATFORM_")}))


def published(platform: Platform) -> set[str]:
    return {version.version for version in platform.feature_sets.history("user_features").live}


def online(platform: Platform) -> str | None:
    marker = platform.online.marker(project="feature_store_local", view="user_features")
    return marker.target.version if marker and marker.state == "online" else None


@pytest.mark.parametrize(
    ("command", "arguments", "expected"),
    [
        ("dg", "check defs", "All definitions loaded successfully"),
        ("dagster", "definitions validate -w workspace.yaml", "Validation successful for code location feature_platform.definitions"),
    ],
)
def test_the_definitions_are_found_in_the_projects_directory(
    environment: dict[str, str], command: str, arguments: str, expected: str
) -> None:
    assert expected in dagster(environment, *arguments.split(), command=command)


def test_one_partition_of_every_asset(environment: dict[str, str], platform: Platform) -> None:
    dagster(environment, "asset", "materialize", "--select", "*", "--partition", DAYS[3], *MODULE)
    assert VERSIONS[3] in published(platform)
    assert online(platform) in {VERSIONS[3], VERSIONS[5]}


def test_a_range_of_partitions_in_one_run(environment: dict[str, str], platform: Platform) -> None:
    dagster(environment, "asset", "materialize", "--select", "*", "--partition-range", f"{DAYS[4]}...{DAYS[5]}", *MODULE)
    assert set(VERSIONS[4:]) <= published(platform)
    assert online(platform) == VERSIONS[5]
