"""What a deployment's jobs call: content before anything is published, proving afterwards, patient with a contract that changed."""

import json
import os
import shutil
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import pytest
import redis
from typer.testing import CliRunner

from feature_platform.adapters.feature_server import HTTPFeatureServer
from feature_platform.cli.app import app
from feature_platform.core.layout import as_of, registry_uri, version_id
from feature_platform.errors import ConfigurationError, StorageError
from feature_platform.local.services import SHIPPED_CONTRACTS
from feature_platform.settings import load_settings, variable
from feature_platform.wiring import open_platform
from tests.support.feast_command import serve_feast
from tests.support.feature_set_samples import sample_contract
from tests.support.platforms import MainJob, put_events
from tests.support.tls_proxy import tls_proxy

# Importing Feast raises DeprecationWarnings of its own.
pytestmark = [pytest.mark.filterwarnings("ignore::DeprecationWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]

DAY = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
VERSION = version_id(as_of(DAY))


def answered(*arguments: str, code: int = 0) -> Any:
    """What a command answers in JSON."""
    result = CliRunner().invoke(app, ["deployment", *arguments, "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def features_in_registry() -> list[str]:
    platform = open_platform()
    view = platform.registry.store.registry.get_feature_view("user_features", platform.project, allow_cache=False)
    return [field.name for field in view.features]


@dataclass(frozen=True)
class Life:
    """What the commands answered in one environment, from its first deployment on, and which features the registry then had."""

    first_verify: Any
    applied: Any
    applied_again: Any
    verified_empty: Any
    served: Any
    untrusted: Any
    without_server: Any
    changed: Any
    features_before: list[str]
    features_changed: list[str]
    verified_changed: Any
    registry_lost: Any
    features_after: list[str]
    tampered: Any


@pytest.fixture(scope="module")
def life(module_env: dict[str, str], module_instance: dg.DagsterInstance, tmp_path_factory: pytest.TempPathFactory) -> Life:
    """Deployed without data, then with a day of features, then with a changed contract, then damaged."""
    job = MainJob(open_platform(load_settings({**module_env, variable("start_date"): DAY})), instance=module_instance)
    put_events(job.platform, DAY, country="Łódź")
    found: dict[str, Any] = {"first_verify": answered("verify", code=1), "applied": answered("apply"), "applied_again": answered("apply")}
    found["verified_empty"] = answered("verify")
    run = job.run(DAY)
    assert run.success, run.failure
    directory = tmp_path_factory.mktemp("feast")
    (directory / "tokens").write_text("# callers\nverification 0123456789abcdef # ours\n", encoding="utf-8")
    with (
        serve_feast(dict(os.environ), directory / "log") as url,
        tls_proxy("127.0.0.1", int(url.rpartition(":")[2]), directory=directory) as proxy,
    ):
        closed = ["--tokens", str(directory / "tokens"), "--ca", str(proxy.certificate)]
        found["served"] = answered("verify", "--server", f"https://{proxy.host}:{proxy.port}", *closed)
        found["untrusted"] = answered("verify", "--server", f"https://{proxy.host}:{proxy.port}", code=1)
    found["without_server"] = answered("verify", "--server", "http://127.0.0.1:1", code=1)
    found["features_before"] = features_in_registry()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(variable("contracts_dir"), str(changed_contract(tmp_path_factory.mktemp("changed"))))
        found["changed"], found["features_changed"] = answered("apply"), features_in_registry()
        found["verified_changed"] = answered("verify")
        job.platform.objects.delete(registry_uri(job.platform.settings.registry_uri, "local"))
        found["registry_lost"], found["features_after"] = answered("apply"), features_in_registry()
    job.platform.objects.delete(registry_uri(job.platform.settings.registry_uri, "local"))
    answered("apply")
    tamper(module_env[variable("redis")])
    return Life(**found, tampered=answered("verify", code=1))


def changed_contract(directory: Path) -> Path:
    """The shipped contracts with one feature more."""
    shutil.copytree(SHIPPED_CONTRACTS, directory, dirs_exist_ok=True)
    file = directory / "user_features.schema.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    column = next(column for column in document["columns"] if column["name"] == "f_total_events_7d")
    document["columns"].append({**column, "name": "f_again"})
    file.write_text(json.dumps(document), encoding="utf-8")
    return directory


def tamper(connection_string: str) -> None:
    """Write another value over one feature of one entity."""
    address, *options = connection_string.split(",")
    host, _, port = address.rpartition(":")
    password = dict(option.split("=", 1) for option in options).get("password")
    with redis.Redis(host=host, port=int(port), password=password) as client:
        key = next(name for name in client.scan_iter() if not name.startswith(b"feature_platform:"))
        field = next(name for name in client.hkeys(key) if not name.startswith(b"_ts"))
        client.hset(key, field, b"\x18\x07")


def test_a_first_verification_finds_the_contract_missing(life: Life) -> None:
    assert [row["state"] for row in life.first_verify["feature_sets"]] == ["nothing is published yet"]
    assert [finding["code"] for finding in life.first_verify["findings"]] == ["not_applied"]


def test_applying_is_safe_to_repeat(life: Life) -> None:
    assert [(row["feature_set"], row["registry"]) for row in life.applied] == [("user_features", "applied")]
    assert life.applied_again == life.applied


def test_an_environment_without_data_is_well(life: Life) -> None:
    assert life.verified_empty["findings"] == []


def test_served_data_is_proved_with_the_answers_of_a_server(life: Life) -> None:
    assert life.served == {"feature_sets": [{"feature_set": "user_features", "state": VERSION, "findings": 0}], "findings": []}


def test_a_server_that_does_not_answer_is_a_finding(life: Life) -> None:
    assert [(finding["file"], finding["code"]) for finding in life.without_server["findings"]] == [("server", "unreachable")] * 2


def test_a_server_that_nobody_vouches_for_is_a_finding(life: Life) -> None:
    assert all("certificate" in finding["found"] for finding in life.untrusted["findings"])
    assert len(life.untrusted["findings"]) == 2


def test_a_file_without_tokens_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text("# none yet\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="expected at least one token"):
        HTTPFeatureServer.of("https://features", tokens=tmp_path / "tokens", authority=None)
    (tmp_path / "tokens").write_text("a 0123456789abcdef\nb fedcba9876543210\n", encoding="utf-8")
    asked = HTTPFeatureServer.of("https://features", tokens=tmp_path / "tokens", authority=None)
    assert asked.token == "0123456789abcdef"
    assert "0123456789abcdef" not in repr(asked)


class _Stranger(BaseHTTPRequestHandler):
    """Something else at the address of a feature server: the path of the URL says what it answers with."""

    answers: ClassVar = {
        "page": b"HTTP/1.0 200 OK\r\n\r\n<html>",
        "short": b'HTTP/1.0 200 OK\r\n\r\n{"metadata": {"feature_names": ["f_count"]}, "results": [{"values": []}]}',
        "closed": b"HTTP/1.0 401 Unauthorized\r\n\r\n",
        "shell": b"SSH-2.0-OpenSSH\r\n",
    }

    def do_POST(self) -> None:
        self.wfile.write(self.answers[self.path.split("/")[1]])

    def log_message(self, *_: Any) -> None:
        """Nothing: the test's output is not a log."""


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("page", "expected the JSON of a feature server"),
        ("short", "expected the JSON of a feature server"),
        ("closed", "name its file of tokens by --tokens"),
        ("shell", "BadStatusLine"),
    ],
)
def test_a_server_that_is_something_else_is_an_error_that_says_so(path: str, said: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Stranger) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            asked = HTTPFeatureServer.of(f"http://127.0.0.1:{server.server_port}/{path}", tokens=None, authority=None)
            with pytest.raises(StorageError, match=said):
                asked.read(sample_contract(), [{"user_id": 1}], ["f_count"])
        finally:
            server.shutdown()
            thread.join()


def test_a_server_without_a_url_or_a_certificate_is_refused_before_it_is_asked(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="feature-server:6566: expected the URL of a feature server"):
        HTTPFeatureServer.of("feature-server:6566", tokens=None, authority=None)
    absent = tmp_path / "ca.pem"
    with pytest.raises(ConfigurationError, match=f"{absent} cannot be used .*: expected a file of CA certificates"):
        HTTPFeatureServer.of("https://features", tokens=None, authority=absent)
    absent.write_text("no certificate")
    with pytest.raises(ConfigurationError, match=f"{absent} cannot be used"):
        HTTPFeatureServer.of("https://features", tokens=None, authority=absent)


def test_a_changed_contract_waits_for_its_data(life: Life) -> None:
    assert [row["registry"] for row in life.changed] == ["waits for its data"]
    assert life.features_changed == life.features_before


def test_what_is_online_is_proved_by_the_contract_that_built_it(life: Life) -> None:
    assert life.verified_changed["findings"] == []
    assert life.verified_changed["feature_sets"][0]["state"] == f"{VERSION}; the contract has changed since, and waits for the first build"


def test_a_lost_registry_is_written_anew_by_the_contract_of_what_is_served(life: Life) -> None:
    """Not by the deployed one, which nothing was built by yet: it would promise readers a feature that holds nothing."""
    assert [row["registry"] for row in life.registry_lost] == ["waits for its data"]
    assert life.features_after == life.features_before


def test_a_value_that_was_changed_behind_our_back_is_found(life: Life) -> None:
    assert {finding["code"] for finding in life.tampered["findings"]} == {"mismatched"}
