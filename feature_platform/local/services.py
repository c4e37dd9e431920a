"""The servers that a laptop, the demo and the tests use in place of S3 and Redis, and the environment that points the platform at them.

With this environment the platform runs the same code as in production. Nothing that runs in production belongs here.
"""

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from feature_platform.adapters.machine.spool import disk_errors
from feature_platform.local.seaweedfs import SeaweedFS
from feature_platform.local.server import EmbeddedServer
from feature_platform.local.valkey import Valkey
from feature_platform.settings import variable

BUCKET: Final = "feature-platform-local"
SHIPPED_CONTRACTS: Final = Path(__file__).resolve().parents[2] / "feast_repo" / "contracts"
"""The contracts of the source tree that this module is part of."""


class LocalServices:
    """An S3 server and a Redis-compatible server with their state below one directory.

    As a context manager it brings them up and takes them down again.

    Args:
        home: State directory; two of them hold two independent pairs of servers.
        detached: Whether the servers outlive this process, for a command that starts them and returns. Otherwise they end with it.
    """

    def __init__(self, home: Path, *, detached: bool = True) -> None:
        self.home = home.absolute()
        self.s3_program = SeaweedFS(credentials_file=self.home / "s3" / "credentials.json")
        self.s3 = EmbeddedServer(self.s3_program, directory=self.home / "s3", detached=detached)
        self.redis_program = Valkey(passwords_file=self.home / "redis" / "passwords.json")
        self.redis = EmbeddedServer(self.redis_program, directory=self.home / "redis", detached=detached)

    def up(self) -> None:
        """Start both servers on their data, where they do not run yet, and create the bucket where it is absent.

        Raises:
            StorageError: A server does not come up; the message shows the end of its log.
            ConfigurationError: A server's program is not installed, or the home cannot be used.
        """
        prepare_home(self.home)
        self.redis.start()
        self.s3.start()
        self.s3_program.ensure_bucket(BUCKET, port=self.s3.port)

    def down(self) -> None:
        """End both servers and keep their data. No error where they do not run."""
        with ExitStack() as stops:
            for server in (self.redis, self.s3):
                stops.callback(server.stop)

    def environment(self, *, start_date: date, contracts_dir: Path | None = None, redis_read_only: bool = False) -> dict[str, str]:
        """Every variable that points the platform, Feast and any AWS client at these servers.

        Args:
            contracts_dir: Directory of contracts; those of the source tree where left out.
            redis_read_only: Name the Redis user who can only read, for servers that must not write.

        Raises:
            ConfigurationError: The servers do not run.
        """
        platform: Mapping[str, object] = {
            "env": "local",
            "raw_uri": f"s3://{BUCKET}/raw",
            "work_uri": f"s3://{BUCKET}/work",
            "feature_base": f"s3://{BUCKET}/features",
            "registry_uri": f"s3://{BUCKET}/feast",
            "redis": self.redis_program.connection_string(port=self.redis.port, read_only=redis_read_only),
            "contracts_dir": (contracts_dir or SHIPPED_CONTRACTS).absolute(),
            "start_date": start_date.isoformat(),
            "home": self.home,
        }
        aws = self.s3_program.client_environment(port=self.s3.port)
        return {variable(field): str(value) for field, value in platform.items()} | aws

    def __enter__(self) -> Self:
        self.up()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.down()


def prepare_home(home: Path) -> None:
    """Create the directory where there is none, and make it readable by its owner only: it holds passwords and data.

    Raises:
        ConfigurationError: It is a file, or this user may not write it.
        StorageError: The disk is full.
    """
    with disk_errors(home):
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        home.chmod(0o700)
        with tempfile.TemporaryFile(dir=home):
            pass
