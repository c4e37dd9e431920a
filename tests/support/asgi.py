"""A client that calls an ASGI application in this process: start, requests, end, all on one event loop."""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class AsgiAnswer:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body) if self.body else None


class AsgiClient:
    """Runs one application's lifespan; a context manager."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._runner = asyncio.Runner()
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def __enter__(self) -> "AsgiClient":
        self.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self.run(self._end())
        self._runner.close()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something in the application's event loop."""
        return self._runner.run(work)

    def post(self, path: str, body: object, *, headers: Mapping[str, str] | None = None) -> AsgiAnswer:
        """Send a document, or bytes as they are."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.run(self.request("POST", path, raw, headers=headers))

    def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> AsgiAnswer:
        return self.run(self.request("GET", path, b"", headers=headers))

    async def request(self, method: str, path: str, body: bytes, *, headers: Mapping[str, str] | None = None) -> AsgiAnswer:
        sent: list[dict[str, Any]] = []
        given = {"content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in given.items() if value],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        left = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            return left.pop() if left else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        try:
            await self._app(scope, receive, send)
        except Exception:
            # Starlette answers with an error and raises it again for the server's log.
            if not sent:
                raise
        headers_in = {name.decode(): value.decode() for name, value in sent[0].get("headers", [])}
        return AsgiAnswer(sent[0]["status"], headers_in, b"".join(message.get("body", b"") for message in sent[1:]))

    async def _start(self) -> None:
        async def send(message: dict[str, Any]) -> None:
            await self._told.put(message)

        self._lifespan = asyncio.create_task(self._app({"type": "lifespan", "asgi": {"version": "3.0"}}, self._events.get, send))
        await self._events.put({"type": "lifespan.startup"})
        message = await self._told.get()
        assert message["type"] == "lifespan.startup.complete", message

    async def _end(self) -> None:
        await self._events.put({"type": "lifespan.shutdown"})
        await self._told.get()
        await self._lifespan
