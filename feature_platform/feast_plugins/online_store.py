"""Feast's Redis online store with ttl on reads, bounded waiting, and a read path of its own.

``feature_store.yaml`` names :class:`BoundedRedisOnlineStore`; what it reads and writes is Feast's layout, byte for byte. Planning,
fetching and decoding are ``read_plan``, ``redis_reads`` and ``raw_response``; exact loads do not belong here
(``adapters.online_store.redis_store``).
"""

import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any, Final

from feast import utils
from feast.feature_service import FeatureService
from feast.infra.online_stores.redis import RedisClient, RedisOnlineStore, RedisOnlineStoreConfig, RedisType
from feast.infra.supported_async_methods import SupportedAsyncMethods
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from redis import Redis

from feature_platform.adapters.feast.clock import reading_time_s
from feature_platform.adapters.feast.repository import ONLINE_STORE
from feature_platform.adapters.online_store.redis_connection import SENTINEL_OPTION
from feature_platform.core.online.decoding import project_of_key
from feature_platform.core.online.layout import feature_key, timestamp_key
from feature_platform.core.online.marker import marker_key
from feature_platform.core.online.reads import UnplannedRequestError
from feature_platform.errors import ConfigurationError
from feature_platform.feast_plugins.raw_response import RawOnlineResponse, ViewRows, view_rows
from feature_platform.feast_plugins.read_plan import ReadPlan, read_plan
from feature_platform.feast_plugins.redis_reads import fetch

TIMEOUTS: Final = {"socket_timeout": "0.5", "socket_connect_timeout": "0.5", "retry": "null"}
"""Client options for a connection string that leaves them out: without them a reader waits 20 s for a silent server."""

_PLANS_KEPT: Final = 256
"""Most request shapes whose plans are kept; services use few, and a client that sends ever new ones must not fill memory."""

_SCAN_COUNT: Final = 5000
_IGNORED: Final = ("key_ttl_seconds", "full_scan_for_deletion")
"""Options of Feast that are refused: a key with Feast's ttl would drop loaded values of every view, and nothing here deletes whole keys."""

_log = logging.getLogger(__name__)


class BoundedRedisOnlineStoreConfig(RedisOnlineStoreConfig):  # type: ignore[misc]  # Feast ships no types
    """The ``online_store`` section of ``feature_store.yaml``: Feast's own options, some with safer defaults.

    Raises:
        ConfigurationError: An option is set that exact loads and removals do not support.
    """

    type: str = ONLINE_STORE
    skip_dedup: bool = True
    full_scan_for_deletion: bool | None = False

    def model_post_init(self, context: Any) -> None:
        super().model_post_init(context)
        faults = [f"{name}: expected to be left out, found {value}" for name in _IGNORED if (value := getattr(self, name))]
        if self.redis_type is RedisType.redis_sentinel and f"{SENTINEL_OPTION}=" not in self.connection_string:
            faults.append(f"redis_type: expected {SENTINEL_OPTION}=<name> in connection_string, which loads follow; found none")
        if faults:
            raise ConfigurationError("The section online_store has options that this store does not follow:", faults)


class BoundedRedisOnlineStore(RedisOnlineStore):  # type: ignore[misc]
    """Reads and writes what Feast's Redis store does, and serves nothing that is past its ttl.

    Requests for plain views with typed join keys on one Redis server take a path of their own; anything else (on-demand views, renamed
    join keys, clusters, GLIDE) takes Feast's, with the same ttl.
    """

    def __init__(self) -> None:
        self._plans: dict[int, tuple[Any, tuple[ReadPlan, ...] | None]] = {}

    @property
    def async_supported(self) -> SupportedAsyncMethods:
        """Writes only: Feast's server then reads on worker threads, which is faster than its client's coroutines."""
        return SupportedAsyncMethods(read=False, write=True)

    def get_online_features(self, config: Any, features: Any, entity_rows: Any, registry: Any, project: str, **options: Any) -> Any:
        """See Feast; rows past their ttl are null with status ``OUTSIDE_MAX_AGE``."""
        try:
            return self._read_planned(config, features, entity_rows, registry, project, **options)
        except UnplannedRequestError:
            return super().get_online_features(config, features, entity_rows, registry, project, **options)

    async def get_online_features_async(self, *arguments: Any, **options: Any) -> Any:
        """See :meth:`get_online_features`, on a worker thread."""
        return await asyncio.to_thread(self.get_online_features, *arguments, **options)

    def online_read(self, config: Any, table: Any, entity_keys: list[Any], requested_features: list[str] | None = None) -> list[Any]:
        """See Feast; the values of a row past its ttl are null."""
        rows = super().online_read(config, table, entity_keys, requested_features)
        return [_masked(row, table) for row in rows]

    async def online_read_async(
        self, config: Any, table: Any, entity_keys: list[Any], requested_features: list[str] | None = None
    ) -> list[Any]:
        rows = await super().online_read_async(config, table, entity_keys, requested_features)
        return [_masked(row, table) for row in rows]

    def update(self, config: Any, tables_to_delete: Any, *_: Any, **__: Any) -> None:
        """Deletes nothing: a checkout that lacks a view does not prove that its values are no longer needed."""
        for table in tables_to_delete:
            _log.warning("Kept the online values of %s in %s; decommission the feature set to remove them.", table.name, config.project)

    def delete_table(self, config: Any, table: Any) -> None:
        """Remove one view's fields, and only those, from every entity of this project; then its marker."""
        client = self._get_client(config.online_store)
        project = config.project.encode()
        fields = [timestamp_key(table.name), *(feature_key(table.name, field.name) for field in table.features)]
        client.delete(marker_key(config.project, table.name))
        # Every key of the project, not only those of the published file: a decommissioned view must leave nothing, whoever wrote it.
        batch = client.pipeline(transaction=False)
        for key in client.scan_iter(count=_SCAN_COUNT):
            if project_of_key(key) == project:
                batch.hdel(key, *fields)
            if len(batch) >= _SCAN_COUNT:
                batch.execute()
        batch.execute()

    def teardown(self, config: Any, tables: Any, entities: Any) -> None:
        """Remove the fields of these views; those of other views and projects stay, and keys that Feast did not write."""
        del entities
        for table in tables:
            self.delete_table(config, table)

    def _get_client(self, online_store_config: Any) -> Any:
        return super()._get_client(_bounded(online_store_config)) if not self._client else self._client

    async def _get_client_async(self, online_store_config: Any) -> Any:
        return await super()._get_client_async(_bounded(online_store_config))

    def _read_planned(
        self,
        config: Any,
        features: Any,
        entity_rows: Any,
        registry: Any,
        project: str,
        *,
        full_feature_names: bool = False,
        include_feature_view_version_metadata: bool = False,
    ) -> RawOnlineResponse:
        client = self._get_client(config.online_store)
        if include_feature_view_version_metadata or not isinstance(client, Redis) or config.online_store.client == RedisClient.glide:
            raise UnplannedRequestError
        context = utils._get_cached_request_context(registry, project, features, full_feature_names)
        plans = self._plan(context, features, config, full_feature_names=full_feature_names)
        columns = _columns(entity_rows, join_keys=context[4])
        commands = [plan.commands(columns) for plan in plans]
        started_s = time.monotonic()
        replies = _fetch_each_once(client, [command for part in commands for command in part])
        read_s = time.monotonic() - started_s
        now_s = reading_time_s()
        views, start = [], 0
        for plan, part in zip(plans, commands, strict=True):
            views.append(view_rows(plan, replies[start : start + len(part)], now_s=now_s))
            start += len(part)
        _count(views, read_s=read_s)
        return RawOnlineResponse(columns, context[3], views)

    def _plan(self, context: Any, features: Any, config: Any, *, full_feature_names: bool) -> tuple[ReadPlan, ...]:
        """The plans of a resolved request, kept as long as Feast keeps the resolution."""
        # Feast caches the context and hands out the same object; keeping it here too keeps its id from being used again.
        known = self._plans.get(id(context))
        if known is None or known[0] is not context:
            if len(self._plans) >= _PLANS_KEPT:
                self._plans.clear()
            known = (context, _plans(context, features, config, full_feature_names=full_feature_names))
            self._plans[id(context)] = known
        if known[1] is None:
            raise UnplannedRequestError
        return known[1]

    def _read_features_per_fv(self, config: Any, grouped_refs: Any, *arguments: Any, **options: Any) -> None:
        response = _response_of(arguments, options)
        for table, features in grouped_refs:
            before = len(response.results)
            super()._read_features_per_fv(config, [(table, features)], *arguments, **options)
            _mask_message(response.results[before:], table)

    async def _read_features_per_fv_async(self, config: Any, grouped_refs: Any, *arguments: Any, **options: Any) -> None:
        response = _response_of(arguments, options)
        for table, features in grouped_refs:
            before = len(response.results)
            await super()._read_features_per_fv_async(config, [(table, features)], *arguments, **options)
            _mask_message(response.results[before:], table)


def _count(views: list[ViewRows], *, read_s: float) -> None:
    """Count in Feast's own metrics where its server has them switched on; importing them here would slow every reader's start."""
    metrics = sys.modules.get("feast.metrics")
    if metrics is None or not metrics._config.online_features:
        return
    metrics.track_online_store_read(read_s)
    for view in views:
        late, width = sum(view.past_ttl or ()), len(view.columns)
        metrics.track_feature_statuses(view.plan.view, (len(view.timestamps) - late) * width, late * width)


def _bounded(online_store_config: Any) -> Any:
    """The configuration with timeouts, and of type Sentinel where the connection string names a primary that Sentinels guard."""
    options = online_store_config.connection_string.split(",")
    master = next((value for name, _, value in (option.partition("=") for option in options) if name == SENTINEL_OPTION), "")
    kind = RedisType.redis_sentinel if master else online_store_config.redis_type
    kept = [option for option in options if not option.startswith(f"{SENTINEL_OPTION}=")]
    given = {option.partition("=")[0] for option in kept}
    added = [f"{name}={value}" for name, value in TIMEOUTS.items() if name not in given and (kind == RedisType.redis or name != "retry")]
    update = {"connection_string": ",".join([*kept, *added]), "redis_type": kind}
    return online_store_config.model_copy(update={**update, SENTINEL_OPTION: master} if master else update)


def _plans(context: Any, features: Any, config: Any, *, full_feature_names: bool) -> tuple[ReadPlan, ...] | None:
    _refs, on_demand, _entities, _types, _join_keys, grouped, _names, request_data, entityless = context
    precomputed = isinstance(features, FeatureService) and getattr(features, "precompute_online", False)
    if on_demand or request_data or entityless or precomputed or config.registry.enable_online_feature_view_versioning:
        return None
    try:
        return tuple(read_plan(view, wanted, project=config.project, full_feature_names=full_feature_names) for view, wanted in grouped)
    except UnplannedRequestError:
        return None


def _columns(entity_rows: Any, *, join_keys: set[str]) -> dict[str, list[Any]]:
    """Join key → values; leaves every request to Feast's own code that Feast would convert or answer with an error."""
    if isinstance(entity_rows, Mapping):
        columns = {key: values for key, values in entity_rows.items() if isinstance(values, list)}
    elif isinstance(entity_rows, list) and entity_rows:
        width = len(entity_rows[0])
        if any(len(row) != width for row in entity_rows):
            raise UnplannedRequestError
        try:
            columns = {key: [row[key] for row in entity_rows] for key in entity_rows[0]}
        except KeyError as error:
            raise UnplannedRequestError from error
    else:
        raise UnplannedRequestError
    lengths = {len(values) for values in columns.values()}
    if len(columns) != len(entity_rows if isinstance(entity_rows, Mapping) else columns) or len(lengths) != 1 or 0 in lengths:
        raise UnplannedRequestError
    if not join_keys >= columns.keys():
        raise UnplannedRequestError
    return columns


def _fetch_each_once(client: Any, commands: list[bytes]) -> list[Any]:
    # A request may name one entity many times (a page of one shop's products); Redis is asked once for each.
    distinct = dict.fromkeys(commands)
    if len(distinct) == len(commands):
        return fetch(client, commands)
    answers = dict(zip(distinct, fetch(client, list(distinct)), strict=True))
    return [answers[command] for command in commands]


def _is_past_ttl(seconds: float, table: Any) -> bool:
    return bool(seconds and table.ttl and reading_time_s() - seconds > table.ttl.total_seconds())


def _masked(row: Any, table: Any) -> Any:
    moment, values = row
    if moment is None or values is None or not _is_past_ttl(moment.timestamp(), table):
        return row
    return moment, {name: ValueProto() for name in values}


def _mask_message(vectors: Any, table: Any) -> None:
    """Make values that are past their ttl null, in a response that Feast's own code filled."""
    for vector in vectors:
        for row, stamp in enumerate(vector.event_timestamps):
            if _is_past_ttl(stamp.seconds + stamp.nanos / 1e9, table):
                vector.values[row].Clear()
                vector.statuses[row] = FieldStatus.OUTSIDE_MAX_AGE


def _response_of(arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return options["online_features_response"] if "online_features_response" in options else arguments[2]
