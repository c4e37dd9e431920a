"""The ASGI application: paths, methods, bodies, tokens and the limit of requests at once. Answers belong to ``feature_server``.

What listens, and where it may without tokens, does not belong here (``supervisor``, ``options``).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from feature_platform.errors import FeaturePlatformError
from feature_platform.server import metrics
from feature_platform.server.access_log import AccessLog
from feature_platform.server.answer_counts import FEATURES_PATH
from feature_platform.server.catalogue import Catalogue
from feature_platform.server.feature_server import Answer, FeatureServer, document, unavailable
from feature_platform.server.metrics import MetricsBoard
from feature_platform.server.openapi import openapi_document
from feature_platform.server.status import ServerStatus
from feature_platform.server.tokens import Tokens

BODY_S: Final = 10.0
"""How long the body of a request may take to arrive."""

TICK_S: Final = 1.0
_TEXT: Final = b"text/plain; version=0.0.4; charset=utf-8"
CLOSE: Final = (b"connection", b"close")
"""The header of an answer that is the last one on its connection."""

_HTML: Final = b"text/html; charset=utf-8"

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What an application is made of; built inside the event loop that serves it.

    Args:
        server: Answers requests for features.
        status: Answers requests about the server itself.
        board: The counters of all workers.
        catalogue: Makes the page of every feature set.
        tokens: Who may ask; anyone where left out.
        access_log: Where requests are logged; nowhere where left out.
        allow_push: Whether ``POST /push`` is passed on to Feast.
        ticks: Functions that are called every second, in a thread.
    """

    server: FeatureServer
    status: ServerStatus
    board: MetricsBoard
    catalogue: Catalogue = field(default_factory=Catalogue)
    tokens: Tokens | None = None
    access_log: AccessLog | None = None
    allow_push: bool = False
    ticks: tuple[Callable[[], object], ...] = ()


@dataclass(frozen=True, slots=True)
class _Route:
    method: str
    handle: Callable[[Scope, bytes], Awaitable[Answer]]
    is_open: bool = False
    """Whether it needs no token and is answered even where too many requests are under way."""


class _ClientGoneError(Exception):
    """The client closed the connection before its body was whole."""


class ServerApp:
    """One worker's application.

    Args:
        make: Builds its parts, inside the event loop.
    """

    def __init__(self, make: Callable[[], Parts]) -> None:
        self._make = make
        self._tasks: list[asyncio.Task[None]] = []
        self._under_way = 0
        self._is_draining = False
        self._routes: dict[str, _Route] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the application's own start and end."""
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1003})

    def drain(self) -> None:
        """From now on answer ``/ready`` with 503 and close every connection after its answer, because this worker is about to end."""
        self._is_draining = True

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            answer = await self.answer(scope, receive)
        except _ClientGoneError:
            return
        headers = [(b"content-type", answer.content_type), (b"content-length", b"%d" % len(answer.body)), *answer.headers]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def answer(self, scope: Scope, body: Receive | bytes) -> Answer:
        """Answer, count and log one request.

        Args:
            scope: Its method, path, headers and client, as ASGI says them.
            body: Its body, or what gives it in ASGI's messages; called where the answer needs it.
        """
        started_s = time.perf_counter()
        parts = self._parts
        caller = parts.tokens.holder(scope["headers"]) if parts.tokens else ""
        answer = await self._routed(scope, body, caller)
        parts.board.counts.add(metrics.REQUESTS, scope["path"] if scope["path"] in self._routes else "other", str(answer.status))
        if self._is_draining:
            answer = answer._replace(headers=[*answer.headers, CLOSE])
        if parts.access_log:
            took_s = time.perf_counter() - started_s
            parts.access_log.add(scope, status=answer.status, size=len(answer.body), took_s=took_s, caller=caller or "")
        return answer

    async def _routed(self, scope: Scope, given: Receive | bytes, caller: str | None) -> Answer:
        route = self._routes.get(scope["path"])
        if route is not None and route.is_open and route.method == scope["method"]:
            return await route.handle(scope, b"")
        if caller is None:
            return document({"detail": "Not authenticated"}, status=401, headers=[(b"www-authenticate", b"Bearer")])
        if route is None or scope["method"] != route.method:
            return _no_such(route)
        body = await self._body(scope, given) if route.method == "POST" else b""
        if isinstance(body, Answer):
            return body
        if self._under_way >= self._parts.server.limits.concurrency:
            self._parts.board.counts.add(metrics.SHED, "worker")
            return unavailable("Too many requests are under way. Try again.")
        self._under_way += 1
        try:
            return await route.handle(scope, body)
        finally:
            self._under_way -= 1

    async def _body(self, scope: Scope, given: Receive | bytes) -> bytes | Answer:
        most = self._parts.server.limits.body_bytes
        size = len(given) if isinstance(given, bytes) else _declared_bytes(scope)
        try:
            body = given if isinstance(given, bytes) else await _received(given, most=most) if size <= most else b""
        except TimeoutError:
            return document({"detail": f"The body did not arrive in {BODY_S:.0f} s."}, status=408, headers=[CLOSE])
        if max(size, len(body)) > most:
            return document({"detail": f"A body may have at most {most} bytes."}, status=413, headers=[CLOSE])
        return body

    def _made_routes(self, parts: Parts) -> dict[str, _Route]:
        def features(scope: Scope, body: bytes) -> Awaitable[Answer]:
            return parts.server.online_features(body, scope["headers"])

        async def versions(_scope: Scope, _body: bytes) -> Answer:
            return document(await parts.status.versions())

        async def health(_scope: Scope, _body: bytes) -> Answer:
            return Answer(200, b"", [])

        async def ready(_scope: Scope, _body: bytes) -> Answer:
            faults = {"server": "it is shutting down"} if self._is_draining else await parts.status.faults()
            return document({"ready": not faults, "faults": faults}, status=503 if faults else 200)

        async def numbers(_scope: Scope, _body: bytes) -> Answer:
            return Answer(200, parts.board.rendered(await parts.status.gauges()), [], _TEXT)

        async def catalogue(_scope: Scope, _body: bytes) -> Answer:
            return Answer(200, await parts.catalogue.page(), [], _HTML)

        async def openapi(_scope: Scope, _body: bytes) -> Answer:
            return document(openapi_document(parts.server.limits))

        async def push(_scope: Scope, body: bytes) -> Answer:
            answer = await parts.server.feast.post("/push", body)
            return Answer(answer.status, answer.body, [], answer.content_type)

        routes = {
            FEATURES_PATH: _Route("POST", features),
            "/feature-version": _Route("GET", _guarded(versions)),
            "/health": _Route("GET", health, is_open=True),
            "/ready": _Route("GET", ready, is_open=True),
            "/metrics": _Route("GET", numbers),
            "/catalog": _Route("GET", _guarded(catalogue)),
            "/openapi.json": _Route("GET", openapi),
        }
        return {**routes, "/push": _Route("POST", _guarded(push))} if parts.allow_push else routes

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._start()
        except FeaturePlatformError as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._end()
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self) -> None:
        self._parts = parts = self._make()
        self._routes = self._made_routes(parts)
        try:
            await parts.server.registry.read()
        except FeaturePlatformError as error:
            _log.error("Nothing is served before the Feast registry can be read. %s", error)
        running = [parts.server.registry.keep_reading, self._tick]
        if parts.access_log:
            running.append(parts.access_log.keep_writing)
        self._tasks = [asyncio.create_task(run()) for run in running]

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for tick in self._parts.ticks:
                await _tried(tick)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        for error in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(error, Exception):
                _log.error("A background task of this worker had ended: %r", error)
        await _tried(self._parts.board.publish)
        await self._parts.server.close()


async def _tried(tick: Callable[[], object]) -> None:
    try:
        await asyncio.to_thread(tick)
    except Exception as error:  # noqa: BLE001  a full disk must not end the reading of tokens, nor the next try, nor an orderly end
        _log.error("A regular task of this worker failed and is tried again: %r", error)


def _no_such(route: _Route | None) -> Answer:
    if route is None:
        return document({"detail": "Not Found"}, status=404)
    return document({"detail": "Method Not Allowed"}, status=405, headers=[(b"allow", route.method.encode())])


def _guarded(handle: Callable[[Scope, bytes], Awaitable[Answer]]) -> Callable[[Scope, bytes], Awaitable[Answer]]:
    async def guarded(scope: Scope, body: bytes) -> Answer:
        try:
            return await handle(scope, body)
        except FeaturePlatformError as error:
            return unavailable(str(error))

    return guarded


def _declared_bytes(scope: Scope) -> int:
    return next((int(value) for name, value in scope["headers"] if name == b"content-length" and value.isdigit()), 0)


async def _received(receive: Receive, *, most: int) -> bytes:
    """The whole body; of one that is larger than ``most`` bytes only the beginning, just long enough to show that.

    Raises:
        TimeoutError: It takes too long.
    """
    parts: list[bytes] = []
    size, more = 0, True
    async with asyncio.timeout(BODY_S):
        while more and size <= most:
            message = await receive()
            parts.append(_part(message))
            size += len(parts[-1])
            more = message.get("more_body", False)
    return b"".join(parts)


def _part(message: dict[str, Any]) -> bytes:
    if message.get("type") == "http.disconnect":
        raise _ClientGoneError
    part: bytes = message.get("body", b"")
    return part
