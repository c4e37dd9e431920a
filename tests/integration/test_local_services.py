"""The embedded servers: started once, found again, restarted on their data, and never left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import psutil
import pytest

from feature_platform.errors import ConfigurationError, StorageError
from feature_platform.local.locks import held
from feature_platform.local.loopback_ports import HOST, choose_ports
from feature_platform.local.processes import ProcessMark, is_running, mark_of
from feature_platform.local.server import EmbeddedServer
from feature_platform.local.services import BUCKET, LocalServices
from feature_platform.local.valkey import Valkey
from feature_platform.settings import AWS_VARIABLES, PREFIX, load_settings
from tests.support.services import S3Endpoint, ValkeyDatabase
from tests.support.survivors import survivors

pytestmark = pytest.mark.slow

UP = """
import sys
from pathlib import Path
from feature_platform.local.services import LocalServices
services = LocalServices(Path(sys.argv[1]), detached=sys.argv[2] == "detached")
services.up()
print(services.s3.record().mark.pid, services.redis.record().mark.pid, flush=True)
if sys.argv[2] == "owned":
    sys.stdin.read()
"""


@pytest.fixture
def valkey_of_its_own(tmp_path: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(Valkey(tmp_path / "redis" / "passwords.json"), directory=tmp_path / "redis", detached=False)
    yield server
    server.stop()


def database(server: EmbeddedServer) -> ValkeyDatabase:
    return ValkeyDatabase.of(server)


def endpoint(services: LocalServices) -> S3Endpoint:
    credentials = services.s3_program.credentials
    return S3Endpoint(f"http://{HOST}:{services.s3.port}", credentials.access_key_id, credentials.secret_access_key)


def up_in_another_process(home: Path, mode: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", UP, str(home), mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def pids_printed(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    return [int(pid) for pid in process.stdout.readline().split()]


def test_servers_outlive_the_process_that_started_them_and_are_started_once(tmp_path: Path) -> None:
    home = tmp_path / "home"
    services = LocalServices(home)
    try:
        starters = [up_in_another_process(home, "detached") for _ in range(3)]
        with ThreadPoolExecutor(3) as pool:
            printed = list(pool.map(pids_printed, starters))
        assert [process.communicate() and process.returncode for process in starters] == [0, 0, 0]
        assert printed[0] == printed[1] == printed[2]
        services.up()
        assert [record.mark.pid for server in (services.s3, services.redis) if (record := server.record())] == printed[0]
        assert endpoint(services).store.get(f"s3://{BUCKET}/nothing") is None
        assert database(services.redis).client.ping()
    finally:
        services.down()
    assert [mark_of(pid) for pid in printed[0]] == [None, None]
    assert (services.s3.record(), services.redis.record()) == (None, None)


def test_servers_end_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    owner = up_in_another_process(tmp_path / "home", "owned")
    servers = [psutil.Process(pid) for pid in pids_printed(owner)]
    owner.kill()
    owner.communicate()
    assert psutil.wait_procs(servers, timeout=15)[1] == []


def test_data_and_ports_survive_a_crash_of_both_servers(tmp_path: Path) -> None:
    with LocalServices(tmp_path / "home", detached=False) as services:
        ports = (services.s3.port, services.redis.port)
        endpoint(services).store.put(f"s3://{BUCKET}/raw/x", b"kept", write_id="w", sha256=None, condition=None)
        database(services.redis).client.set("x", "kept")
        services.s3.kill()
        services.redis.kill()
        services.up()
        assert (services.s3.port, services.redis.port) == ports
        stored = endpoint(services).store.get(f"s3://{BUCKET}/raw/x")
        assert stored is not None
        assert stored.body == b"kept"
        assert database(services.redis).client.get("x") == b"kept"


def test_two_homes_stand_side_by_side_on_loopback_only(tmp_path: Path, local_services: LocalServices) -> None:
    local_services.up()
    with LocalServices(tmp_path / "home with a space", detached=False) as services:
        endpoint(services).store.put(f"s3://{BUCKET}/mine", b"mine", write_id="w", sha256=None, condition=None)
        database(services.redis).client.set("mine", "mine")
        assert endpoint(local_services).store.get(f"s3://{BUCKET}/mine") is None
        assert database(local_services.redis).client.get("mine") is None
        listening: list[set[tuple[str, int]]] = []
        for server in (services.s3, services.redis, local_services.s3, local_services.redis):
            record = server.record()
            assert record is not None
            sockets = psutil.Process(record.mark.pid).net_connections(kind="inet")
            listening.append({(one.laddr.ip, one.laddr.port) for one in sockets if one.status == psutil.CONN_LISTEN})
            assert listening[-1] == {(HOST, port) for port in record.ports.values()}
        assert len(set().union(*listening)) == 22


def test_the_environment_is_whole_and_documented(tmp_path: Path) -> None:
    services = LocalServices(tmp_path / "home", detached=False)
    with pytest.raises(ConfigurationError, match=r"does not run in .*feature-platform up"):
        services.environment(start_date=date(2026, 1, 10))
    with services:
        environment = services.environment(start_date=date(2026, 1, 10))
        settings = load_settings(environment)
        assert settings.raw_uri == "s3://feature-platform-local/raw"
        assert settings.work_uri == "s3://feature-platform-local/work"
        assert settings.feature_base == "s3://feature-platform-local/features"
        assert settings.registry_uri == "s3://feature-platform-local/feast"
        password = services.redis_program.passwords.default
        bounds = "socket_timeout=0.2,socket_connect_timeout=0.2,retry=null"
        assert settings.redis == f"127.0.0.1:{services.redis.port},db=0,password={password},{bounds}"
        assert (settings.env, settings.start_date, settings.home) == ("local", date(2026, 1, 10), tmp_path / "home")
        assert (settings.contracts_dir / "user_features.schema.json").is_file()
        assert {name for name in environment if not name.startswith(PREFIX)} <= set(AWS_VARIABLES)
        script = "import boto3; print([bucket['Name'] for bucket in boto3.client('s3').list_buckets()['Buckets']])"
        listed = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
        assert listed.stdout.strip() == "['feature-platform-local']"


def test_each_home_has_a_secret_that_only_its_owner_reads(tmp_path: Path) -> None:
    first, second = LocalServices(tmp_path / "a"), LocalServices(tmp_path / "b")
    assert first.s3_program.credentials == LocalServices(tmp_path / "a").s3_program.credentials
    assert first.s3_program.credentials.secret_access_key != second.s3_program.credentials.secret_access_key
    assert (tmp_path / "a" / "s3" / "credentials.json").stat().st_mode & 0o077 == 0
    assert [path.name for path in (tmp_path / "a" / "s3").iterdir()] == ["credentials.json"]


def test_asking_for_the_status_or_the_end_of_nothing_leaves_no_trace(tmp_path: Path) -> None:
    services = LocalServices(tmp_path / "home")
    assert (services.s3.record(), services.redis.record()) == (None, None)
    services.down()
    assert list(tmp_path.iterdir()) == []


def test_the_cache_refuses_writes_rather_than_evict_and_persists_them(valkey_of_its_own: EmbeddedServer) -> None:
    valkey_of_its_own.start()
    config = database(valkey_of_its_own).client.config_get("*")
    assert isinstance(config, dict)
    assert (config["maxmemory-policy"], config["appendonly"], config["bind"]) == ("noeviction", "yes", "127.0.0.1")


def test_starting_and_stopping_twice_is_once(valkey_of_its_own: EmbeddedServer) -> None:
    first = valkey_of_its_own.start()
    assert valkey_of_its_own.start() == first
    valkey_of_its_own.stop()
    valkey_of_its_own.stop()
    assert valkey_of_its_own.record() is None
    second = valkey_of_its_own.start()
    assert second.ports == first.ports
    assert second.mark != first.mark


def test_a_number_that_now_belongs_to_another_process_is_left_alone(valkey_of_its_own: EmbeddedServer, tmp_path: Path) -> None:
    valkey_of_its_own.start()
    valkey_of_its_own.kill()
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record = json.loads((tmp_path / "redis" / "server.json").read_text())
    record["mark"]["pid"] = stranger.pid
    (tmp_path / "redis" / "server.json").write_text(json.dumps(record))
    assert valkey_of_its_own.record() is None
    valkey_of_its_own.stop()
    started = valkey_of_its_own.start()
    assert started.mark.pid != stranger.pid
    assert stranger.poll() is None
    stranger.communicate(b"\n")


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"mark": {"pid": 1}}', '{"mark": null, "ports": {}}'])
def test_a_damaged_record_costs_only_its_ports(damage: str, valkey_of_its_own: EmbeddedServer, tmp_path: Path) -> None:
    valkey_of_its_own.start()
    database(valkey_of_its_own).client.set("x", "kept")
    valkey_of_its_own.stop()
    (tmp_path / "redis" / "server.json").write_text(damage)
    valkey_of_its_own.start()
    assert database(valkey_of_its_own).client.get("x") == b"kept"


def test_a_port_taken_meanwhile_is_replaced(valkey_of_its_own: EmbeddedServer) -> None:
    port = valkey_of_its_own.start().ports["redis"]
    database(valkey_of_its_own).client.set("x", "kept")
    valkey_of_its_own.stop()
    with socket.create_server((HOST, port)):
        assert valkey_of_its_own.start().ports["redis"] != port
    assert database(valkey_of_its_own).client.get("x") == b"kept"


def test_a_server_that_hangs_is_replaced_and_a_frozen_one_is_killed(
    valkey_of_its_own: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("feature_platform.local.server.START_WITHIN_S", 0.5)
    monkeypatch.setattr("feature_platform.local.server.STOP_WITHIN_S", 0.5)
    frozen = valkey_of_its_own.start()
    os.kill(frozen.mark.pid, signal.SIGSTOP)
    replaced = valkey_of_its_own.start()
    assert replaced.mark != frozen.mark
    assert not is_running(frozen.mark)
    assert database(valkey_of_its_own).client.ping()


def test_a_server_that_cannot_start_says_why(valkey_of_its_own: EmbeddedServer, tmp_path: Path) -> None:
    valkey_of_its_own.start()
    database(valkey_of_its_own).client.set("x", "kept")
    valkey_of_its_own.stop()
    for file in (tmp_path / "redis" / "data" / "appendonlydir").glob("*.manifest"):
        file.write_text("this is not a manifest\n")
    with pytest.raises(StorageError, match=r"(?s)Valkey ended before it was ready.*server\.log.*manifest"):
        valkey_of_its_own.start()
    assert valkey_of_its_own.record() is None


def test_marks_tell_processes_apart() -> None:
    mine = mark_of(os.getpid())
    assert mine is not None
    assert is_running(mine)
    assert not is_running(ProcessMark(os.getpid(), "another start"))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    mark = mark_of(ended.pid)
    ended.wait()
    assert mark is None or not is_running(mark)


def test_preferred_ports_are_kept_only_where_all_are_free() -> None:
    ports = choose_ports(["a", "b"], preferred={})
    assert choose_ports(["a", "b"], preferred=ports) == ports
    with socket.create_server((HOST, ports["b"])):
        assert choose_ports(["a", "b"], preferred=ports)["b"] != ports["b"]
    derived = choose_ports(["a", "b"], preferred={}, offsets={"b": ("a", 10_000)})
    assert derived["b"] == derived["a"] + 10_000


def test_waiting_for_a_lock_ends_and_names_it(tmp_path: Path) -> None:
    lock = tmp_path / "server.lock"
    with held(lock):
        refused = pytest.raises(StorageError, match=rf"Another process has held {lock} for more than 0.1 s.*fuser")
        with refused, held(lock, within_s=0.1):
            raise AssertionError("two hold one lock")
    with held(lock, within_s=0):
        assert lock.stat().st_mode & 0o077 == 0


def test_a_server_whose_record_cannot_be_written_is_not_left_running(valkey_of_its_own: EmbeddedServer, tmp_path: Path) -> None:
    """Nobody would find it again. A directory stands where the record belongs, so that it cannot be replaced."""
    (tmp_path / "redis" / "server.json" / "taken").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="cannot hold the platform's files: Is a directory"):
        valkey_of_its_own.start()
    assert [survivor for survivor in survivors() if str(tmp_path) in survivor] == []
