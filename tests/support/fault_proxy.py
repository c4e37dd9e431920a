"""An HTTP proxy on loopback in front of a real S3 server, which loses, delays, refuses and damages what passes by rule.

The server behind it is never harmed: a fault is what a client sees of a network or of an overloaded service. Rules fire by the order of
matching requests, never by chance, so a test that uses them is repeatable.
"""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import unquote, urlsplit

Fault = Literal["drop_request", "drop_reply", "late_request", "late_reply", "error_500", "slow_down", "truncate", "flip_bit"]
"""What a rule does to a request.

    drop_request   the connection closes; the server never sees the request
    drop_reply     the server carries it out; the connection closes without an answer
    late_request   the server sees it only after ``delay_s``, when its client may have given up
    late_reply     the server carries it out; the answer comes after ``delay_s``
    error_500      500 InternalError; the server never sees the request
    slow_down      503 SlowDown; the server never sees the request
    truncate       the answer's body ends in its middle
    flip_bit       one bit of the answer's body is wrong
"""

_ANSWERS: dict[Fault, tuple[int, str]] = {"error_500": (500, "InternalError"), "slow_down": (503, "SlowDown")}
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect"}


@dataclass
class Rule:
    """A fault for some of the requests that match."""

    fault: Fault
    method: str
    key: re.Pattern[str]
    nth: int
    times: int | None
    delay_s: float
    matched: int = 0

    def applies(self, method: str, key: str) -> bool:
        """Count a request that matches, and say whether it is one to fail."""
        if method != self.method or not self.key.search(key):
            return False
        self.matched += 1
        return self.matched >= self.nth and (self.times is None or self.matched < self.nth + self.times)


@dataclass(frozen=True)
class Passed:
    """One request as the proxy saw it; ``status`` is what the server answered, None where it was not asked."""

    method: str
    key: str
    fault: Fault | None
    status: int | None


@dataclass
class FaultProxy:
    """A running proxy; use :func:`fault_proxy`."""

    upstream: str
    url: str = ""
    _rules: list[Rule] = field(default_factory=list)
    _passed: list[Passed] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closing: threading.Event = field(default_factory=threading.Event)

    def inject(
        self, fault: Fault, *, method: str = "PUT", key: str = "", nth: int = 1, times: int | None = 1, delay_s: float = 60.0
    ) -> None:
        """Add a rule; of several that match a request, the first added is carried out.

        Args:
            fault: What to do.
            method: HTTP method.
            key: Regular expression searched in ``/bucket/key?query``, unquoted.
            nth: The first matching request to fail, counted from 1 when the rule is added.
            times: How many to fail from there on; all of them where None.
            delay_s: Of late requests and replies; cut short when the proxy closes.
        """
        with self._lock:
            self._rules.append(Rule(fault, method, re.compile(key), nth, times, delay_s))

    def heal(self) -> None:
        """Remove every rule; late ones that wait already go on waiting."""
        with self._lock:
            self._rules.clear()

    def passed(self, *, method: str | None = None, key: str = "") -> list[Passed]:
        """The requests so far, in the order in which the server answered them or the proxy did in its place."""
        with self._lock:
            return [request for request in self._passed if method in (None, request.method) and re.search(key, request.key)]

    def decide(self, method: str, key: str) -> Rule | None:
        """The rule for one request."""
        with self._lock:
            firing = [rule for rule in self._rules if rule.applies(method, key)]
        return firing[0] if firing else None

    def record(self, request: Passed) -> None:
        """Remember one request."""
        with self._lock:
            self._passed.append(request)

    def wait(self, seconds: float) -> None:
        """Be late."""
        self._closing.wait(seconds)

    def close(self) -> None:
        """Cut every delay short."""
        self._closing.set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: FaultProxy
    _upstream: HTTPConnection | None = None

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:  # the client gave up first
            self.close_connection = True

    def finish(self) -> None:
        if self._upstream is not None:
            self._upstream.close()
        with suppress(ConnectionError):
            super().finish()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
        pass

    def _serve(self) -> None:
        key, body = unquote(self.path), self._body()
        rule = self.proxy.decide(self.command, key)
        fault = rule.fault if rule else None
        if fault in _ANSWERS:
            self.proxy.record(Passed(self.command, key, fault, status=None))
            self._refuse(*_ANSWERS[fault])
        elif fault == "drop_request":
            self.proxy.record(Passed(self.command, key, fault, status=None))
            self.close_connection = True
        else:
            if rule and fault == "late_request":
                self.proxy.wait(rule.delay_s)
            answer, content = self._forward(body)
            # Before its client hears of it, so that a client that has its answer finds the request here.
            self.proxy.record(Passed(self.command, key, fault, answer.status))
            if rule and fault == "late_reply":
                self.proxy.wait(rule.delay_s)
            self._answer(answer, content, fault=fault)

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815  the library's names

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def _forward(self, body: bytes) -> tuple[HTTPResponse, bytes]:
        # The Host header stays the client's, because its signature covers it.
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        headers["Content-Length"] = str(len(body))
        if self._upstream is None:
            self._upstream = HTTPConnection(urlsplit(self.proxy.upstream).netloc, timeout=60)
        try:
            self._upstream.request(self.command, self.path, body=body, headers=headers)
            answer = self._upstream.getresponse()
            return answer, answer.read()
        except (OSError, HTTPException) as error:
            self._upstream.close()
            self.close_connection = True
            raise ConnectionAbortedError from error

    def _answer(self, answer: HTTPResponse, content: bytes, *, fault: Fault | None) -> None:
        if fault == "drop_reply":
            self.close_connection = True
            return
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _HOP_BY_HOP | {"content-length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length", "0") if self.command == "HEAD" else str(len(content)))
        self.end_headers()
        if fault == "flip_bit" and content:
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        if fault == "truncate":
            content = content[: len(content) // 2]
            self.close_connection = True
        self.wfile.write(content)

    def _refuse(self, status: int, code: str) -> None:
        content = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """Serve a proxy in front of an endpoint URL; its own is ``url``."""
    proxy = FaultProxy(upstream)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": proxy}))
    proxy.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.close()
        server.shutdown()
        thread.join()
        server.server_close()
