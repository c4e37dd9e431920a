"""A server's application behind a real HTTP server in a thread of this process, with the HTTP protocol that workers use."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from feature_platform.server.http_protocol import DirectProtocol


@contextmanager
def serving_http(app: Any, *, is_direct: bool = True, keep_alive_s: int = 5) -> Iterator[int]:
    """The port it listens on; it ends with the block. ``is_direct`` is false for uvicorn's own protocol; idle connections are closed."""
    import uvicorn

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        protocol = DirectProtocol if is_direct else "httptools"
        quiet: dict[str, Any] = {"log_config": None, "access_log": False, "server_header": False, "date_header": False}
        config = uvicorn.Config(app, http=protocol, loop="uvloop", ws="none", lifespan="on", timeout_keep_alive=keep_alive_s, **quiet)
        server = uvicorn.Server(config)
        started = threading.Event()
        original = server.startup

        async def startup(sockets: Any = None) -> None:
            await original(sockets=sockets)
            started.set()

        server.startup = startup  # type: ignore[method-assign]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert started.wait(60)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(60)
