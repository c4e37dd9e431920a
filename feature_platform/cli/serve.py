"""``feature-platform serve``: the options of the feature server, and its processes until SIGTERM. Serving does not belong here."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from feature_platform.adapters.logs import configure_logs
from feature_platform.cli.output import command, say
from feature_platform.server.options import Limits, ServeOptions
from feature_platform.settings import load_settings

_DEFAULTS, _LIMITS = ServeOptions(), Limits()
_DEADLINE_MS, _CACHE_MIB = round(_LIMITS.deadline_s * 1000), _DEFAULTS.cache_bytes >> 20


@command
def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = _DEFAULTS.host,
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="Port, shared by all workers.")] = _DEFAULTS.port,
    uds: Annotated[Path | None, typer.Option("--uds", help="Unix socket to listen on instead of a port.")] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=256, help="Processes; about one for each core that is free.")
    ] = _DEFAULTS.workers,
    tokens: Annotated[Path | None, typer.Option("--tokens", help="File of bearer tokens, a name and a token per line.")] = None,
    is_open: Annotated[bool, typer.Option("--open", help="Answer anyone on any address, without tokens.")] = False,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Private key of --tls-cert, PEM.")] = None,
    deadline_ms: Annotated[int, typer.Option("--deadline-ms", min=1, help="Time for a request's read of the online store.")] = _DEADLINE_MS,
    concurrency: Annotated[
        int, typer.Option("--concurrency", min=1, help="Requests at once in a worker; further ones get 503.")
    ] = _LIMITS.concurrency,
    max_entities: Annotated[int, typer.Option("--max-entities", min=1, help="Most entities in one request.")] = _LIMITS.entities,
    max_features: Annotated[int, typer.Option("--max-features", min=1, help="Most features in one request.")] = _LIMITS.features,
    max_body_kib: Annotated[int, typer.Option("--max-body-kib", min=1, help="Largest body of a request.")] = _LIMITS.body_bytes >> 10,
    cache_mib: Annotated[
        int, typer.Option("--cache-mib", min=0, help="Row cache of each worker; 0 turns it off, as does --allow-push.")
    ] = _CACHE_MIB,
    max_age_s: Annotated[float | None, typer.Option("--max-age-s", help="Oldest online version to be ready with; ttl by default.")] = None,
    drain_s: Annotated[float, typer.Option("--drain-s", min=0, help="How long it still answers after SIGTERM.")] = _DEFAULTS.drain_s,
    access_log: Annotated[bool, typer.Option("--access-log", help="One JSON line per request on standard output.")] = False,
    log_to: Annotated[str | None, typer.Option("--log-to", help="Response log: a directory or s3:// URI, as `prove` reads it.")] = None,
    log_rate: Annotated[
        float, typer.Option("--log-rate", min=0, max=1, help="Share of entities to log, by a hash of their keys.")
    ] = _DEFAULTS.log_rate,
    allow_push: Annotated[bool, typer.Option("--allow-push", help="Offer Feast's POST /push, which writes without any check.")] = False,
) -> None:
    """Serve online features over HTTP, as Feast's server does; a header of every answer names the version that its values come from."""
    from feature_platform.server.assembly import server_app
    from feature_platform.server.supervisor import supervise
    from feature_platform.server.worker import run_worker

    settings = load_settings()
    configure_logs(is_json=settings.log_format == "json")
    limits = Limits(max_body_kib << 10, max_entities, max_features, concurrency, deadline_ms / 1000)
    with tempfile.TemporaryDirectory(prefix="feature-server-") as directory:
        options = ServeOptions(
            host=host,
            port=port,
            uds=uds,
            workers=workers,
            limits=limits,
            tokens=tokens,
            is_open=is_open,
            tls_cert=tls_cert,
            tls_key=tls_key,
            allow_push=allow_push,
            cache_bytes=cache_mib << 20,
            access_log=access_log,
            max_age_s=max_age_s,
            drain_s=drain_s,
            log_to=log_to,
            log_rate=log_rate,
            metrics_dir=Path(directory),
        )
        server_app(settings, options)  # so that a wrong option is reported once, and not by every worker
        supervise(
            options,
            lambda listener, heartbeat: run_worker(server_app(settings, options), options, listener, heartbeat),
            said=lambda: say(f"Serving on {uds or f'{host}:{port}'}; SIGTERM or Ctrl-C ends it."),
        )
