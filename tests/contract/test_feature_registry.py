"""What every feature registry promises, in memory and on Feast over real servers alike: contracts applied, reads, findings, removal."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from feature_platform.adapters.feast.memory import MemoryFeatureRegistry
from feature_platform.adapters.feast.registry import FeastRegistry
from feature_platform.adapters.online_store.memory import MemoryOnlineStore
from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.errors import ContractError
from feature_platform.ports.feature_registry import FeatureRegistry
from feature_platform.ports.online_store import OnlineStore
from feature_platform.settings import load_settings
from feature_platform.wiring import feast_environment
from tests.support.online import PROJECT, USERS, Publications, contract_of, users
from tests.support.shipped_features import enter

pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


V = "v_20260115T000000"
AS_OF = datetime(2026, 1, 15, tzinfo=UTC)


@dataclass(frozen=True)
class Subject:
    """A registry, the online store that it reads, and the versions that are loaded there."""

    registry: FeatureRegistry
    online: OnlineStore
    publications: Publications

    def load(self, ids: range) -> None:
        """Make these users exactly what is online."""
        self.online.load(self.publications.publish(f"{V[:-1]}{self.publications.sequence}", users(ids)))


@pytest.fixture(params=["memory", "feast"])
def subject(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Subject:
    if request.param == "memory":
        online = MemoryOnlineStore()
        return Subject(MemoryFeatureRegistry(online, project=PROJECT), online, Publications())
    enter(monkeypatch, request.getfixturevalue("local_env"))
    settings = load_settings()
    project = settings.feast_project
    return Subject(FeastRegistry(feast_environment(settings)), RedisOnlineStore(settings.redis), Publications(project=project))


def test_what_was_never_applied_is_a_finding_and_cannot_be_read(subject: Subject) -> None:
    assert [(finding.code, finding.file) for finding in subject.registry.findings(USERS)] == [("not_applied", "registry")]
    assert subject.registry.registered("user_features") == ()
    with pytest.raises(ContractError, match="apply its contract"):
        subject.registry.read(USERS, [{"user_id": 1}])


def test_an_applied_contract_is_read_as_it_was_loaded(subject: Subject) -> None:
    subject.registry.apply([USERS])
    subject.registry.apply([USERS])
    subject.load(range(1, 6))
    assert subject.registry.findings(USERS) == []
    rows = subject.registry.read(USERS, [{"user_id": 2}, {"user_id": 5}, {"user_id": 99}], as_of=AS_OF)
    assert rows == [
        {"user_id": 2, "f_count": 14, "f_mean": 2 / 3, "f_country": "land-2é"},
        {"user_id": 5, "f_count": 35, "f_mean": None, "f_country": "land-5é"},
        {"user_id": 99, "f_count": None, "f_mean": None, "f_country": None},
    ]


def test_values_past_their_ttl_are_not_served(subject: Subject) -> None:
    subject.registry.apply([USERS])
    subject.load(range(1, 3))
    (row,) = subject.registry.read(USERS, [{"user_id": 1}], as_of=AS_OF + timedelta(days=8))
    assert row == {"user_id": 1, "f_count": None, "f_mean": None, "f_country": None}


def test_a_contract_that_changed_since_is_a_finding(subject: Subject) -> None:
    subject.registry.apply([USERS])
    changed = contract_of({"user_id": "int64", "f_count": "int64"})
    assert [finding.code for finding in subject.registry.findings(changed)] == ["features_differ", "contract_differs"]
    subject.registry.apply([changed])
    assert subject.registry.findings(changed) == []


def test_published_rows_read_back_through_it_are_the_published_ones(subject: Subject) -> None:
    subject.registry.apply([USERS])
    subject.load(range(1, 40))
    publications = subject.publications
    request = publications.request(next(iter(publications.files)), sequence=publications.sequence)
    report = subject.online.parity(request, limit=None, now_us=0, read=subject.registry.reader(USERS, as_of=AS_OF))
    assert (report.exact, report.entities) == (True, 39)


def test_a_removed_feature_set_is_gone_with_its_values(subject: Subject) -> None:
    subject.registry.apply([USERS])
    subject.load(range(1, 4))
    planned = subject.registry.registered("user_features")
    assert planned == ("feature_service/user_features", "feature_view/user_features", "data_source/user_features_latest")
    assert subject.registry.remove(USERS) == planned
    assert subject.registry.registered("user_features") == ()
    assert subject.online.marker(project=subject.publications.project, view="user_features") is None
    subject.registry.apply([USERS])
    assert set(subject.registry.read(USERS, [{"user_id": 1}], as_of=AS_OF)[0].values()) == {1, None}
