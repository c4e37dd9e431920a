"""An ASGI application behind a real HTTP server in a thread of this process."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def serving_http(app: Any) -> Iterator[int]:
    """The port it listens on; it ends with the block."""
    import uvicorn

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = uvicorn.Config(app, http="httptools", loop="uvloop", ws="none", lifespan="on", log_config=None, access_log=False)
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
