"""One worker's feature server: a request body in, an answer out. HTTP does not belong here (``app``), nor starting processes."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from feature_platform.core.online.reads import UnplannedRequestError
from feature_platform.errors import ConfigurationError, FeaturePlatformError
from feature_platform.server import metrics
from feature_platform.server.answer_counts import FEATURES_PATH, AnswerCounts
from feature_platform.server.answers import ViewColumns, answer_body, columns_of_rows, view_columns
from feature_platform.server.feast_process import FeastAnswer
from feature_platform.server.metrics import Counts
from feature_platform.server.online_reader import OnlineReader, Wanted
from feature_platform.server.options import Limits
from feature_platform.server.pins import require_pinned
from feature_platform.server.plans import Refusal, RequestPlan
from feature_platform.server.proof import Proof, header, proof_of
from feature_platform.server.redis_link import DeadlineMissedError
from feature_platform.server.registry_watch import RegistryWatch
from feature_platform.server.requests import EVERY_VIEW, OnlineRequest, UnusualBodyError, header_pins, key_columns, parse_request
from feature_platform.server.response_log import ResponseLog
from feature_platform.server.row_cache import RowCache

JSON: Final = b"application/json"

_PLANS: Final = 256
"""Plans whose numbers are at hand."""

Headers = list[tuple[bytes, bytes]]
_log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """An answer to a client. ``headers`` are those other than content length and content type."""

    status: int
    body: bytes
    headers: Headers
    content_type: bytes = JSON


def document(body: object, *, status: int = 200, headers: Headers | None = None) -> Answer:
    """An answer that is a JSON document."""
    return Answer(status, msgspec.json.encode(body), headers or [])


def unavailable(text: str) -> Answer:
    """The answer to a request that may succeed later: 503 with ``retry-after``."""
    return document({"detail": text}, status=503, headers=[(b"retry-after", b"1")])


class Feast(Protocol):
    """Feast's own server, for what no plan expresses; see ``feast_process``."""

    @property
    def is_busy(self) -> bool: ...

    async def post(self, path: str, body: bytes) -> FeastAnswer: ...

    async def close(self) -> None: ...


class FeatureServer:
    """Answers requests from one registry and one online store.

    Args:
        registry: The views and services that are served.
        reader: Reads the online store.
        feast: Feast's own server.
        limits: What a request may ask.
        counts: Where requests are counted.
        cache_bytes: Budget of the row cache; 0 for no cache.
        log: The response log; none where left out.
    """

    def __init__(
        self,
        registry: RegistryWatch,
        reader: OnlineReader,
        feast: Feast,
        *,
        limits: Limits | None = None,
        counts: Counts | None = None,
        cache_bytes: int = 0,
        log: ResponseLog | None = None,
    ) -> None:
        self.registry, self.reader, self.feast = registry, reader, feast
        self.limits, self.counts = limits or Limits(), counts or Counts()
        self._source = RowCache(reader, budget_bytes=cache_bytes, counts=self.counts) if cache_bytes else reader
        self._columns = columns_of_rows if cache_bytes else view_columns
        self._log = log
        self._counts_of = lru_cache(maxsize=_PLANS)(partial(AnswerCounts, self.counts))

    async def online_features(self, body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> Answer:
        """Answer ``POST /get-online-features`` as Feast's server does; a header names the version of every view's values."""
        try:
            request = self._parsed(body, headers) or await self._by_feasts_model(body, headers)
            pins = {**self._service_pin(request.shape.service), **request.pins, **header_pins(headers)}
            try:
                return await self._answered(request, pins)
            except UnplannedRequestError:
                return await self._by_feast(body, request, pins)
        except Refusal as refusal:
            return document(refusal.body, status=refusal.status)
        except FeaturePlatformError as error:
            if isinstance(error, DeadlineMissedError):
                self.counts.add(metrics.DEADLINES)
            if isinstance(error, ConfigurationError):
                _log.error("%s", error)
            return unavailable(str(error))

    @staticmethod
    def _parsed(body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> OnlineRequest | None:
        try:
            return parse_request(body) if is_json(headers) else None
        except UnusualBodyError:
            return None

    @staticmethod
    async def _by_feasts_model(body: bytes, headers: Sequence[tuple[bytes, bytes]]) -> OnlineRequest:
        from feature_platform.server.feast_model import judged_request

        return await judged_request(body, headers)

    async def _answered(self, request: OnlineRequest, pins: Mapping[str, str]) -> Answer:
        started_s = time.perf_counter()
        self._require_at_most(self.limits.features, len(request.shape.features), "features")
        plan = self.registry.plan(request.shape)
        self._require_at_most(self.limits.features, len(plan.names), "features")
        keys = key_columns(plan, request.entities)
        rows = len(next(iter(keys.values())))
        self._require_at_most(self.limits.entities, rows, "entities")
        views, proofs, read_s = await self._read(plan, keys)
        if pins:
            require_pinned(proofs, pins)
        answer = Answer(200, answer_body(plan, keys, views), [header(proofs)])
        if self._log is not None:
            self._log.add(self.registry.registry.project, keys, views, proofs)
        self._counts_of(plan).add(views, proofs, rows=rows, read_s=read_s, total_s=time.perf_counter() - started_s)
        return answer

    async def _read(self, plan: RequestPlan, keys: Mapping[str, list[Any]]) -> tuple[list[ViewColumns], list[Proof], float]:
        wanted = [Wanted(view, [keys[name] for name in view.join_keys]) for view in plan.views]
        started_s = time.perf_counter()
        read = await self._source.read(wanted)
        read_s, now_s = time.perf_counter() - started_s, time.time()
        views, proofs = [], []
        for view, rows in zip(plan.views, read):  # noqa: B905  a keyword costs half a microsecond
            views.append(self._columns(view, rows.replies, now_s=now_s))
            proofs.append(proof_of(view.view.name, rows.before, rows.after))
        return views, proofs, read_s

    def _service_pin(self, service: str | None) -> dict[str, str]:
        """The version that a feature service pins, if it pins one; a request's own pins override it."""
        known = self.registry.registry.services.get(service) if service else None
        return {EVERY_VIEW: known.pinned_version} if known and known.pinned_version else {}

    @staticmethod
    def _require_at_most(most: int, found: int, what: str) -> None:
        if found > most:
            raise Refusal(422, {"detail": f"A request may ask for at most {most} {what}; found {found}. Ask in several requests."})

    async def _by_feast(self, body: bytes, request: OnlineRequest, pins: Mapping[str, str]) -> Answer:
        self._require_at_most(self.limits.entities, max(map(len, request.entities.values()), default=0), "entities")
        if pins:
            text = "Only Feast's own server can answer this request, and it cannot prove a version. Ask without a pin."
            raise Refusal(409, {"detail": text})
        if self.feast.is_busy:
            self.counts.add(metrics.SHED, "feast")
            return unavailable("Too many requests that only Feast's own server can answer are under way. Try again.")
        self.counts.add(metrics.BY_FEAST)
        answer = await self.feast.post(FEATURES_PATH, body)
        return Answer(answer.status, answer.body, [], answer.content_type)

    async def close(self) -> None:
        """Drop connections and end Feast's process."""
        await self.reader.close()
        await self.feast.close()
        if self._log is not None:
            await asyncio.to_thread(self._log.close)


def is_json(headers: Sequence[tuple[bytes, bytes]]) -> bool:
    """Whether ``content-type`` plainly says JSON; every other body is left to Feast's model (``feast_model``)."""
    for name, value in headers:
        if name == b"content-type":
            return value == JSON or value.startswith(b"application/json;")
    return False
