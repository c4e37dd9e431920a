"""Settings and options → a worker's application: the only place that constructs the server's parts."""

import os
import time

from feature_platform.adapters.online_store.redis_connection import parse_address
from feature_platform.core.layout import registry_uri
from feature_platform.server.access_log import AccessLog
from feature_platform.server.app import Parts, ServerApp
from feature_platform.server.feast_process import FeastProcess
from feature_platform.server.feature_server import FeatureServer
from feature_platform.server.metrics import MetricsBoard
from feature_platform.server.options import ServeOptions, require_closed
from feature_platform.server.redis_connect import pool_of
from feature_platform.server.registry_watch import RegistryWatch, stored_registry
from feature_platform.server.response_log import ResponseLog, stored_at
from feature_platform.server.status import ServerStatus
from feature_platform.server.store_reader import StoreReader
from feature_platform.server.tokens import Tokens
from feature_platform.settings import Settings
from feature_platform.wiring import s3_at


def server_app(settings: Settings, options: ServeOptions) -> ServerApp:
    """The application of one worker; nothing is opened before it starts.

    Raises:
        ConfigurationError: The Redis connection string, the token file or a combination of options is wrong.
    """
    require_closed(options)
    address, tokens = parse_address(settings.redis), Tokens(options.tokens) if options.tokens else None
    pool_of(address, address.nodes[0])  # so that an unknown option is an error now, and not at the first request
    objects = s3_at()
    fetch = stored_registry(objects, registry_uri(settings.registry_uri, settings.env))

    def make() -> Parts:
        board = MetricsBoard(options.metrics_dir, name=f"{os.getpid()}-{time.time_ns()}")
        reader = StoreReader(address, deadline_s=options.limits.deadline_s)
        registry = RegistryWatch(fetch, project=settings.feast_project)
        log = ResponseLog(stored_at(options.log_to, objects), rate=options.log_rate, counts=board.counts) if options.log_to else None
        server = FeatureServer(
            registry, reader, FeastProcess(), limits=options.limits, counts=board.counts, cache_bytes=options.row_cache_bytes, log=log
        )
        return Parts(
            server=server,
            status=ServerStatus(registry, reader, max_age_s=options.max_age_s),
            board=board,
            tokens=tokens,
            access_log=AccessLog() if options.access_log else None,
            allow_push=options.allow_push,
            ticks=(board.publish, *([tokens.refresh] if tokens else [])),
        )

    return ServerApp(make)
