"""What a test is handed: an S3 endpoint and a bucket of its own, a database of a running Redis server."""

import uuid
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from redis import Redis

from feature_platform.adapters.object_store.s3 import S3ObjectStore
from feature_platform.local.loopback_ports import HOST
from feature_platform.local.server import EmbeddedServer
from feature_platform.local.valkey import Valkey, connection_string
from feature_platform.settings import aws_environment


@dataclass(frozen=True)
class S3Endpoint:
    """A running S3 server and how to reach it. Its clients are shared: each takes a tenth of a second to build."""

    endpoint_url: str
    access_key_id: str
    secret_access_key: str = field(repr=False)
    region: str = "us-east-1"

    @cached_property
    def store(self) -> S3ObjectStore:
        """The S3 adapter on this endpoint, with the platform's own timeouts."""
        return S3ObjectStore(
            endpoint_url=self.endpoint_url,
            region=self.region,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
            part_bytes=5 << 20,  # the least that S3 takes, so that a test of several parts is short
        )

    @cached_property
    def client(self) -> Any:
        """A plain boto3 client, for what the port does not offer."""
        from boto3.session import Session

        return Session().client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
        )

    @property
    def env(self) -> dict[str, str]:
        """The variables by which any AWS client of another process finds this endpoint."""
        return aws_environment(
            endpoint_url=self.endpoint_url,
            region=self.region,
            access_key_id=self.access_key_id,
            secret_access_key=self.secret_access_key,
        )

    def new_bucket(self) -> "S3Bucket":
        """An empty bucket with a name that nobody else has."""
        bucket = f"test-{uuid.uuid4().hex[:12]}"
        self.client.create_bucket(Bucket=bucket)
        return S3Bucket(endpoint=self, bucket=bucket)


@dataclass(frozen=True)
class S3Bucket:
    """An empty bucket of its own."""

    endpoint: S3Endpoint
    bucket: str

    @property
    def uri(self) -> str:
        """``s3://bucket/``."""
        return f"s3://{self.bucket}/"

    @property
    def store(self) -> S3ObjectStore:
        """The S3 adapter, with the platform's own timeouts."""
        return self.endpoint.store

    @property
    def client(self) -> Any:
        """A plain boto3 client."""
        return self.endpoint.client

    @property
    def env(self) -> dict[str, str]:
        """The variables by which any AWS client of another process finds this endpoint."""
        return self.endpoint.env

    def drop(self) -> None:
        """Remove the bucket and all that is in it; the embedded server does both at once."""
        self.client.delete_bucket(Bucket=self.bucket)


@dataclass(frozen=True)
class ValkeyDatabase:
    """An empty Redis-compatible server."""

    host: str
    port: int
    password: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, server: EmbeddedServer) -> "ValkeyDatabase":
        """The database of a running embedded server."""
        assert isinstance(server.program, Valkey)
        return cls(HOST, server.port, server.program.passwords.default)

    @property
    def connection_string(self) -> str:
        """Feast's form, with the client timeouts that the platform uses."""
        return connection_string(self.port, **self._credentials)

    def address(self, **options: object) -> str:
        """Feast's form with these options alone, no timeouts among them."""
        return ",".join([f"{self.host}:{self.port}", *(f"{name}={value}" for name, value in {**self._credentials, **options}.items())])

    @property
    def _credentials(self) -> dict[str, str]:
        return {"password": self.password} if self.password else {}

    @cached_property
    def client(self) -> Redis:
        """A plain client of it, for what the platform does not offer."""
        return self.client_of(0)

    def client_of(self, db: int) -> Redis:
        """A plain client of one of its databases; the caller closes it."""
        return Redis(host=self.host, port=self.port, db=db, password=self.password, socket_timeout=30)

    def empty(self) -> None:
        """Remove every key and every limit that an earlier test set."""
        self.client.flushall()
        self.client.config_set("maxmemory", "0")
        self.client.config_set("maxmemory-policy", "noeviction")
