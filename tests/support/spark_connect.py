"""A Spark Connect server that needs no Java (Sail), and our engine over it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pysail.spark import SparkConnectServer

from tests.support.directory_store import DirectoryStore


@contextmanager
def running() -> Iterator[str]:
    """The address of a server of this process's own, on a free loopback port."""
    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    try:
        yield f"sc://127.0.0.1:{server.listening_address[1]}"
    finally:
        server.stop()


def spark_engine(store: DirectoryStore, *, remote: str, work_uri: str, workdir: Path, **given: Any) -> Any:
    """An engine whose cluster reads the store's files from disk."""
    from feature_platform.adapters.compute.spark.engine import SparkEngine

    return SparkEngine(store, remote=remote, work_uri=work_uri, workdir=workdir, locate=lambda uri: str(store.path(uri)), **given)
