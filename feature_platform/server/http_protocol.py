"""uvicorn's HTTP protocol with a shorter way for requests for features that arrive whole: one call and one write, without ASGI's messages.

The messages cost such a request 40 to 50 µs, of 70 that uvicorn takes and 25 that a bare parser takes. Every other request goes uvicorn's
way, and so does one for features with anything unusual: one that comes in parts or behind another one, with ``expect``, through a proxy
that names its client, of HTTP/1.0. What is answered does not belong here (``app``).
"""

import logging
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from feature_platform.server.app import CLOSE, Scope, ServerApp
from feature_platform.server.feature_server import FEATURES_PATH, Answer

_TARGET: Final = FEATURES_PATH.encode()
_FORWARDED: Final = b"x-forwarded-for"
_FAILED: Final = Answer(500, b"Internal Server Error", [CLOSE], b"text/plain; charset=utf-8")
_log = logging.getLogger(__name__)


class _NoEvent:
    def set(self) -> None:
        """Nobody waits for a message."""


class _Direct:
    """The request under way on a connection, with what uvicorn reads and sets of one."""

    __slots__ = ("disconnected", "keep_alive", "response_complete")

    message_event: Final = _NoEvent()

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.disconnected = self.response_complete = False


class DirectProtocol(HttpToolsProtocol):
    """One connection of a server whose configuration names a :class:`ServerApp`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._app = cast("ServerApp", self.config.app)
        self._body: bytes | None = None  # what came of the body of a request that is answered here; None where uvicorn has it

    def on_headers_complete(self) -> None:
        before, parser = self.cycle, self.parser
        if (
            self.url == _TARGET
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and not parser.should_upgrade()
            and (before is None or before.response_complete)
            and not any(name == _FORWARDED for name, _ in self.headers)
        ):
            self._body = b""
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._body is None:
            super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, None
        if body is None:
            super().on_message_complete()
            return
        cycle, scope = _Direct(keep_alive=self.parser.should_keep_alive()), cast("Scope", self.scope)
        self.cycle = cast("RequestResponseCycle", cycle)
        task = self.loop.create_task(self._answer(cycle, scope, body))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        body, self._body = self._body, None
        if body is not None:  # the rest is still to come, and the application judges how long that may take
            super().on_headers_complete()
            super().on_body(body)

    async def _answer(self, cycle: _Direct, scope: Scope, body: bytes) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        scope["method"], scope["path"] = "POST", FEATURES_PATH
        try:
            answer = await self._app.answer(scope, receive)
        except Exception:  # noqa: BLE001  a fault in the program must not leave the client waiting
            _log.exception("A request failed in a way that nobody foresaw.")
            answer = _FAILED
        if CLOSE in answer.headers:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            answer = answer._replace(headers=[*answer.headers, CLOSE])
        head = b"%scontent-type: %s\r\ncontent-length: %d\r\n" % (STATUS_LINE[answer.status], answer.content_type, len(answer.body))
        reply = b"".join([head, *[b"%s: %s\r\n" % header for header in answer.headers], b"\r\n", answer.body])
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if not cycle.disconnected:
            self.transport.write(reply)
            cycle.response_complete = True
            if not cycle.keep_alive:
                self.transport.close()
            self.on_response_complete()
