"""One worker process: the application on an HTTP server, a heartbeat, and an orderly end. Starting workers belongs to ``supervisor``."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
from typing import Any, Final

from feature_platform.server.app import ServerApp
from feature_platform.server.options import ServeOptions

HEARTBEAT_S: Final = 0.5
RENEW_S: Final = 5.0
_log = logging.getLogger(__name__)


def run_worker(app: ServerApp, options: ServeOptions, listener: socket.socket, heartbeat: int) -> None:
    """Serve on a listening socket until told to end.

    Args:
        app: The application.
        options: The server's options.
        listener: The socket, which its owner keeps open.
        heartbeat: Descriptor of a pipe to the supervisor; a worker whose supervisor is gone ends.
    """
    # The objects made so far live until the end, so the garbage collector may skip them. Without this, a full collection would stop every
    # request for a tenth of a second now and then.
    gc.collect()
    gc.freeze()
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(app, options, listener, heartbeat))


async def _serve(app: ServerApp, options: ServeOptions, listener: socket.socket, heartbeat: int) -> None:
    import uvicorn

    from feature_platform.server.http_protocol import DirectProtocol

    class Server(uvicorn.Server):
        """Leaves signals to this worker."""

        @contextlib.contextmanager
        def capture_signals(self) -> Any:
            yield

    config = uvicorn.Config(
        app,
        http=DirectProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=10,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
    )
    config.load()
    server = Server(config)
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    tasks = [asyncio.create_task(_beat(heartbeat, ending)), asyncio.create_task(_end(app, server, ending, options))]
    if config.ssl:
        tasks.append(asyncio.create_task(_renew(config.ssl, options)))
    await server.serve(sockets=[listener])
    for task in tasks:
        task.cancel()


async def _beat(heartbeat: int, ending: asyncio.Event) -> None:
    """Tell the supervisor that the event loop runs; begin to end where the supervisor is gone."""
    os.set_blocking(heartbeat, False)
    while True:
        try:
            os.write(heartbeat, b".")
        except BlockingIOError:
            pass
        except OSError:
            _log.error("The supervisor of this worker is gone; the worker ends.")
            ending.set()
            return
        await asyncio.sleep(HEARTBEAT_S)


async def _renew(context: ssl.SSLContext, options: ServeOptions) -> None:
    """Take over a certificate that was renewed; new connections get it."""
    assert options.tls_cert is not None
    assert options.tls_key is not None
    known = options.tls_cert.stat().st_mtime_ns
    while True:
        await asyncio.sleep(RENEW_S)
        try:
            found = options.tls_cert.stat().st_mtime_ns
            if found != known:
                # Into another context first: when a certificate without its key is refused, it already stands in the context.
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(options.tls_cert, options.tls_key)
                context.load_cert_chain(options.tls_cert, options.tls_key)
                known = found
                _log.info("Took over the renewed certificate %s.", options.tls_cert)
        except OSError as error:  # an SSLError is one: the two files are renewed one after the other
            _log.error("The certificate %s cannot be taken over yet: %s", options.tls_cert, error)


async def _end(app: ServerApp, server: Any, ending: asyncio.Event, options: ServeOptions) -> None:
    """After SIGTERM: answer ``/ready`` with 503, answer other requests for ``drain_s`` seconds, then stop."""
    await ending.wait()
    app.drain()
    await asyncio.sleep(options.drain_s)
    server.should_exit = True
