"""moto's S3 as a server on loopback, one request at a time: under threads it would let two conditional creates win."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def moto_server(*, page_keys: int = 1_000) -> Iterator[str]:
    """Serve moto on a free port and give its endpoint URL; a page of its listings has so many keys."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class QuietHandler(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002  werkzeug's name
            pass

    application, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def one_at_a_time(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with lock:
            return application(environ, start_response)  # type: ignore[no-any-return]  # moto ships no types

    server = make_server("127.0.0.1", 0, one_at_a_time, threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("MOTO_S3_DEFAULT_MAX_KEYS", str(page_keys))
            yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
