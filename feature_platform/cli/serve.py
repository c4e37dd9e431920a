"""``feature-platform serve``: the feature server."""

from pathlib import Path
from typing import Annotated

import typer

from feature_platform.cli.output import command, say

_MIB = 1 << 20


@command
def serve(
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65_535, help="Port, shared by all workers.")] = 6566,
    uds: Annotated[Path | None, typer.Option("--uds", help="Unix socket to listen on instead of a port.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, max=256, help="Processes; about one for each core that is free.")] = 1,
    tokens: Annotated[Path | None, typer.Option("--tokens", help="File of bearer tokens, a name and a token per line.")] = None,
    is_open: Annotated[bool, typer.Option("--open", help="Answer anyone on any address, without tokens.")] = False,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Its key, PEM.")] = None,
    deadline_ms: Annotated[int, typer.Option("--deadline-ms", min=1, help="For the online store's part of a request.")] = 250,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Requests under way in a worker; more get 503.")] = 256,
    max_entities: Annotated[int, typer.Option("--max-entities", min=1, help="Rows of one request.")] = 1_000,
    max_features: Annotated[int, typer.Option("--max-features", min=1, help="Features of one request.")] = 500,
    max_body_kib: Annotated[int, typer.Option("--max-body-kib", min=1, help="Size of one request.")] = 1_024,
    cache_mib: Annotated[int, typer.Option("--cache-mib", min=0, help="Row cache of each worker; 0 is none.")] = 0,
    max_age_s: Annotated[float | None, typer.Option("--max-age-s", help="Not ready with an older version; by default the ttl.")] = None,
    drain_s: Annotated[float, typer.Option("--drain-s", min=0, help="Go on answering for so long after SIGTERM.")] = 0.0,
    access_log: Annotated[bool, typer.Option("--access-log", help="One JSON line per request on standard output.")] = False,
    log_to: Annotated[str | None, typer.Option("--log-to", help="Response log: a directory or s3:// URI, as `prove` reads it.")] = None,
    log_rate: Annotated[float, typer.Option("--log-rate", min=0, max=1, help="Share of entities in it, by a hash of their keys.")] = 1.0,
    allow_push: Annotated[bool, typer.Option("--allow-push", help="Offer Feast's POST /push, which writes past every check.")] = False,
) -> None:
    """Serve online features over HTTP, as Feast's server does, and say with every answer which version it is of."""
    from feature_platform.cli.serving import run_server
    from feature_platform.server.options import Limits, ServeOptions

    limits = Limits(
        body_bytes=max_body_kib << 10,
        entities=max_entities,
        features=max_features,
        concurrency=concurrency,
        deadline_s=deadline_ms / 1000,
    )
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
        cache_bytes=cache_mib * _MIB,
        access_log=access_log,
        max_age_s=max_age_s,
        drain_s=drain_s,
        log_to=log_to,
        log_rate=log_rate,
    )
    say(f"Serving on {uds or f'{host}:{port}'}; SIGTERM or Ctrl-C ends it.")
    run_server(options)
