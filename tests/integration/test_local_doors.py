"""What other users of the machine can do to the embedded servers: nothing. Every port that listens on loopback asks who is there."""

import os
import stat
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import psutil
import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError
from redis.retry import Retry

from feature_platform.local.loopback_ports import HOST
from feature_platform.local.loopback_tls import own_certificate
from feature_platform.local.server import EmbeddedServer, ServerRecord
from feature_platform.local.services import LocalServices
from tests.support.services import S3Bucket, ValkeyDatabase

WAYS = {
    "filer": [
        ("PUT", "/buckets/{bucket}/evil"),
        ("POST", "/buckets/{bucket}/"),
        ("DELETE", "/buckets/{bucket}/kept"),
        ("DELETE", "/buckets/{bucket}?recursive=true"),
        ("GET", "/buckets/{bucket}/kept"),
    ],
    "master": [
        ("GET", "/dir/assign"),
        ("POST", "/submit"),
        ("GET", "/col/delete?collection={bucket}"),
        ("GET", "/vol/grow?count=1"),
        ("GET", "/vol/vacuum"),
    ],
    "volume": [
        ("POST", "/{volume},01637037d6"),
        ("PUT", "/{volume},01637037d6"),
        ("DELETE", "/{volume},01637037d6"),
        ("GET", "/1,01637037d6"),
    ],
    "admin": [("POST", "/api/buckets"), ("GET", "/api/users"), ("POST", "/api/users"), ("DELETE", "/api/buckets/{bucket}")],
    "s3": [("PUT", "/{bucket}/evil"), ("DELETE", "/{bucket}/kept"), ("DELETE", "/{bucket}"), ("GET", "/{bucket}/kept"), ("PUT", "/evil")],
}
CALL = "/filer_pb.SeaweedFiler/DeleteCollection"


def record_of(server: EmbeddedServer) -> ServerRecord:
    record = server.record()
    assert record is not None
    return record


def answer_to(method: str, url: str) -> int:
    """The status of a request that shows no credentials."""
    request = urllib.request.Request(url, data=b"evil" if method != "GET" else None, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_no_http_request_without_credentials_gets_past_any_port(s3: S3Bucket, s3_server: EmbeddedServer) -> None:
    s3.store.put(f"{s3.uri}kept", b"kept", write_id="w", sha256=None, condition=None)
    ports = record_of(s3_server).ports
    assert {name for name in ports if not name.endswith("_grpc")} == set(WAYS)
    open_doors = []
    for name, ways in WAYS.items():
        for method, path in ways:
            for volume in ("1", "2", "3"):
                url = f"http://{HOST}:{ports[name]}{path.format(bucket=s3.bucket, volume=volume)}"
                if answer_to(method, url) < 400:
                    open_doors.append(f"{name} {method} {path}")
    assert open_doors == []
    assert [info.uri for info in s3.store.scan(s3.uri)] == [f"{s3.uri}kept"]


@pytest.mark.parametrize("shown", ["nothing", "another certificate", "its own certificate"])
def test_no_call_without_the_servers_own_certificate_gets_past_any_port(shown: str, s3_server: EmbeddedServer) -> None:
    """The certificate of the server itself is the control: with it the same call is heard."""
    ports = {name: port for name, port in record_of(s3_server).ports.items() if name.endswith("_grpc")}
    assert len(ports) == 5
    heard = {name for name, port in ports.items() if is_heard(port, shown=shown, home=s3_server.log.parent)}
    assert heard == (set(ports) if shown == "its own certificate" else set())


def is_heard(port: int, *, shown: str, home: Path) -> bool:
    """Whether a call reaches what listens on a port; what it then answers does not matter."""
    own = (home / "grpc.crt").read_bytes()
    certificate, key = (text.encode() for text in own_certificate())
    if shown == "its own certificate":
        certificate, key = own, (home / "grpc.key").read_bytes()
    named = (("grpc.ssl_target_name_override", "feature-platform-local"),)
    if shown == "nothing":
        channel = grpc.insecure_channel(f"{HOST}:{port}")
    else:
        channel = grpc.secure_channel(f"{HOST}:{port}", grpc.ssl_channel_credentials(own, key, certificate), options=named)
    with channel:
        try:
            channel.unary_unary(CALL)(b"", timeout=10)
        except grpc.RpcError as error:
            return error.code() is not grpc.StatusCode.UNAVAILABLE
        return True


def test_redis_answers_nobody_without_a_password_and_lets_a_reader_only_read(valkey: ValkeyDatabase, local_services: LocalServices) -> None:
    valkey.client.hset("entity", "f", "1")
    with Redis(host=HOST, port=valkey.port, retry=Retry(NoBackoff(), 0)) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()
    with Redis(host=HOST, port=valkey.port, username="reader", password=local_services.redis_program.passwords.reader) as reader:
        assert reader.hmget("entity", "f") == [b"1"]
        for write in (
            lambda: reader.hset("entity", "f", "2"),
            lambda: reader.delete("entity"),
            reader.flushall,
            lambda: reader.eval("return redis.call('DEL', 'entity')", 0),
            lambda: reader.config_set("requirepass", ""),
            lambda: reader.acl_setuser("reader", enabled=True, categories=["+@all"]),
            lambda: reader.expire("entity", 1),
            lambda: reader.rename("entity", "other"),
        ):
            with pytest.raises(NoPermissionError):
                write()
    assert valkey.client.hgetall("entity") == {b"f": b"1"}


def test_no_secret_stands_in_a_command_line_or_in_a_file_that_others_can_read(local_services: LocalServices) -> None:
    local_services.up()
    passwords, s3 = local_services.redis_program.passwords, local_services.s3_program.credentials
    secrets = [passwords.default, passwords.reader, s3.secret_access_key]
    for server in (local_services.s3, local_services.redis):
        command = " ".join(psutil.Process(record_of(server).mark.pid).cmdline())
        assert [secret for secret in secrets if secret in command] == []
    readable = [path for path in files_below(local_services.home) if stat.S_IMODE(path.stat().st_mode) & 0o077]
    assert [str(path) for path in readable if any(secret.encode() in path.read_bytes() for secret in secrets)] == []
    assert {"credentials.json", "passwords.json", "valkey.conf", "grpc.key"} <= {path.name for path in files_below(local_services.home)}
    assert stat.S_IMODE(local_services.home.stat().st_mode) == 0o700


def files_below(home: Path) -> list[Path]:
    return [Path(folder) / name for folder, _, names in os.walk(home) for name in names if (Path(folder) / name).is_file()]
