"""Run a feature server with its workers, in this process and its children, until SIGTERM. Options belong to ``serve``."""

import tempfile
from dataclasses import replace
from pathlib import Path

from feature_platform.adapters.logs import configure_logs
from feature_platform.server.assembly import server_app
from feature_platform.server.options import ServeOptions
from feature_platform.server.supervisor import supervise
from feature_platform.server.worker import run_worker
from feature_platform.settings import load_settings


def run_server(options: ServeOptions) -> None:
    """Serve the environment's features.

    Raises:
        ConfigurationError: A setting or an option is wrong, or the address cannot be listened on.
    """
    settings = load_settings()
    configure_logs(is_json=settings.log_format == "json")
    with tempfile.TemporaryDirectory(prefix="feature-server-") as directory:
        options = replace(options, metrics_dir=Path(directory))
        server_app(settings, options)  # so that a wrong option is reported once, and not by every worker
        supervise(options, lambda listener, heartbeat: run_worker(server_app(settings, options), options, listener, heartbeat))
