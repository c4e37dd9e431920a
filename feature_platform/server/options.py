"""How a feature server runs: every option of its operator, with the defaults. Which stores it reads belongs in ``settings``."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from feature_platform.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, of so many rows (``entities``) and features at most, and all of them together may ask of a worker.

    Args:
        concurrency: Most requests under way in one worker; further ones are refused at once rather than queued.
        deadline_s: How long one request's read of the online store may take.
    """

    body_bytes: int = 1 << 20
    entities: int = 1_000
    features: int = 500
    concurrency: int = 256
    deadline_s: float = 0.25


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """One server.

    Args:
        port: Port that all workers share.
        uds: Unix socket to listen on instead of host and port.
        is_open: Whether anyone may ask where there are no tokens; on loopback and on a Unix socket anyone may.
        tls_cert: Certificate chain, PEM; read again when it changes.
        allow_push: Whether Feast's ``POST /push`` is offered, which writes to the online store.
        cache_bytes: Budget of each worker's row cache; 0 for no cache. Pushes pass its token by, so there is none where they are allowed.
        max_age_s: How old an online version may be for the server to be ready; each view's ttl where left out.
        drain_s: How long a server still answers after SIGTERM, while ``/ready`` says 503.
        log_to: Directory or ``s3://`` URI of the response log; none where left out.
        metrics_dir: Directory in which the workers share their counters.
    """

    host: str = "127.0.0.1"
    port: int = 6566
    uds: Path | None = None
    workers: int = 1
    limits: Limits = Limits()
    tokens: Path | None = None
    is_open: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allow_push: bool = False
    cache_bytes: int = 64 << 20
    access_log: bool = False
    max_age_s: float | None = None
    drain_s: float = 0.0
    log_to: str | None = None
    log_rate: float = 1.0
    metrics_dir: Path | None = None

    @property
    def row_cache_bytes(self) -> int:
        """The budget in force."""
        return 0 if self.allow_push else self.cache_bytes


def require_closed(options: ServeOptions) -> None:
    """Refuse options that would leave features open to a network by mistake.

    Raises:
        ConfigurationError: With one sentence for each fault.
    """
    faults = []
    if not (options.tokens or options.is_open or options.uds or _is_loopback(options.host)):
        faults.append(f"--host {options.host} is reachable from other machines: give --tokens, or --open where a network policy guards it")
    if (options.tls_cert is None) != (options.tls_key is None):
        faults.append("--tls-cert and --tls-key: expected both or neither, found one")
    faults += [f"{path}: expected a file, found none" for path in (options.tls_cert, options.tls_key) if path and not path.is_file()]
    if faults:
        raise ConfigurationError("The feature server does not start with these options:", faults)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
