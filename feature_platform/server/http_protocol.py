"""uvicorn's HTTP protocol with a shorter way for requests for features that arrive whole: one call and one write, without ASGI's messages.

With an answer that is ready, uvicorn takes about 100 µs for such a request, this 30 to 40, and a bare parser 25 to 30. Every other request
goes uvicorn's way, and so does one for features with anything unusual: one that comes in parts or behind another one, with ``expect``,
through a proxy that names its client, of HTTP/1.0. What is answered does not belong here (``app``).

Clients send the same head again and again, so what the parser made of one is kept by its bytes: equal bytes are not parsed twice. And a
connection has one timer as long as it lasts, where uvicorn makes and cancels one for each request.
"""

import asyncio
import logging
from typing import Any, ClassVar, Final, NamedTuple, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from feature_platform.server.answer_counts import FEATURES_PATH
from feature_platform.server.app import CLOSE, ServerApp
from feature_platform.server.feature_server import Answer

_TARGET: Final = FEATURES_PATH.encode()
_FORWARDED: Final = b"x-forwarded-for"
_FAILED: Final = Answer(500, b"Internal Server Error", [CLOSE], b"text/plain; charset=utf-8")
_HEAD_END: Final = b"\r\n\r\n"
_HEADS_KEPT: Final = 1024
"""Where each head has something of its own, such as a trace id, none is found again and all are dropped now and then."""

_LONGEST_HEAD: Final = 2048
"""Bytes of a head that is kept; longer ones are parsed each time, so that clients cannot fill the memory."""

_log = logging.getLogger(__name__)


class _Head(NamedTuple):
    """What the parser made of a head: headers, bytes of the body that follows, and whether another request may follow that."""

    headers: list[tuple[bytes, bytes]]
    body_bytes: int
    keep_alive: bool


class _NoEvent:
    def set(self) -> None:
        """Nobody waits for a message."""


class _Direct:
    """The request under way on a connection, with what uvicorn reads and sets of one."""

    __slots__ = ("disconnected", "keep_alive", "response_complete", "task")

    message_event: Final = _NoEvent()
    task: "asyncio.Task[None]"

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.disconnected = self.response_complete = False


class DirectProtocol(HttpToolsProtocol):
    """One connection of a server whose configuration names a :class:`ServerApp`."""

    _heads: ClassVar[dict[bytes, _Head]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._app = cast("ServerApp", self.config.app)
        self._body: bytes | None = None  # what came of the body of a request that is answered here; None where uvicorn has it
        self._data = b""  # what the parser is reading, from the beginning of a request on
        self._is_between = True  # whether the parser has read whole requests only
        self._idle_since_s = 0.0

    def on_message_begin(self) -> None:
        self._is_between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        parser = self.parser
        if (
            self.url == _TARGET
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and not self.expect_100_continue
            and not parser.should_upgrade()
            and self._is_idle()
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
        self._is_between = True
        body, self._body = self._body, None
        if body is None:
            super().on_message_complete()
            return
        head = _Head(self.headers, len(body), self.parser.should_keep_alive())
        end = self._data.find(_HEAD_END) + len(_HEAD_END)
        if self._data[end:] == body and end <= _LONGEST_HEAD:  # the whole request came at once, alone, and not in chunks
            if len(self._heads) >= _HEADS_KEPT:
                self._heads.clear()
            self._heads[self._data[:end]] = head
        self._start(head, body)

    def data_received(self, data: bytes) -> None:
        if self._is_between and self._is_idle():
            end = data.find(_HEAD_END) + len(_HEAD_END)
            head = self._heads.get(data[:end])
            if head is not None and len(data) - end == head.body_bytes:
                self._start(head, data[end:])
                return
        self._data = data if self._is_between else b""
        super().data_received(data)
        self._data = b""
        body, self._body = self._body, None
        if body is not None:  # the rest is still to come, and the application judges how long that may take
            super().on_headers_complete()
            super().on_body(body)

    def on_response_complete(self) -> None:
        self._idle_since_s = self.loop.time()
        if self.pipeline or self.timeout_keep_alive_task is None or self.transport.is_closing():
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1
            self.flow.resume_reading()

    def _unset_keepalive_if_required(self) -> None:
        """Leave the timer: when it comes it looks how long the connection has been idle."""

    def timeout_keep_alive_handler(self) -> None:
        is_idle = self._is_between and self._is_idle()
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time() if is_idle else self.timeout_keep_alive
        if left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)
        else:
            super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        super()._unset_keepalive_if_required()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _start(self, head: _Head, body: bytes) -> None:
        cycle = _Direct(keep_alive=head.keep_alive)
        self.cycle = cast("RequestResponseCycle", cycle)
        cycle.task = self.loop.create_task(self._answer(cycle, head.headers, body))
        self.tasks.add(cycle.task)

    async def _answer(self, cycle: _Direct, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        scope = {"method": "POST", "path": FEATURES_PATH, "headers": headers, "client": self.client}
        try:
            answer = await self._app.answer(scope, body)
        except Exception:  # noqa: BLE001  a fault in the program must not leave the client waiting
            _log.exception("A request failed in a way that nobody foresaw.")
            answer = _FAILED
        finally:
            self.tasks.discard(cycle.task)  # here, because a callback of the task costs another turn of the event loop
        if self.flow.write_paused and not cycle.disconnected:
            await self.flow.drain()
        if not cycle.disconnected:
            self._send(cycle, answer)

    def _send(self, cycle: _Direct, answer: Answer) -> None:
        if CLOSE in answer.headers:
            cycle.keep_alive = False
        elif not cycle.keep_alive:
            answer = answer._replace(headers=[*answer.headers, CLOSE])
        head = b"%scontent-type: %s\r\ncontent-length: %d\r\n" % (STATUS_LINE[answer.status], answer.content_type, len(answer.body))
        self.transport.write(b"".join([head, *[b"%s: %s\r\n" % header for header in answer.headers], b"\r\n", answer.body]))
        cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()
