"""Spark Connect servers of this process's own: Sail, which needs no Java, or Spark itself; and our engine over them."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pysail.spark import SparkConnectServer

from tests.support.directory_store import DirectoryStore
from tests.support.processes import wait_until
from tests.support.valkey_server import free_port


@contextmanager
def running() -> Iterator[str]:
    """The server that the variable SPARK_REMOTE names, or one on a free loopback port: Spark's own where SPARK_HOME is set, else Sail's."""
    if "SPARK_REMOTE" in os.environ:
        yield os.environ["SPARK_REMOTE"]
        return
    with spark(Path(os.environ["SPARK_HOME"])) if "SPARK_HOME" in os.environ else sail() as address:
        yield address


@contextmanager
def sail() -> Iterator[str]:
    """Sail's server, in this process."""
    server = SparkConnectServer("127.0.0.1", 0)
    server.start(background=True)
    try:
        yield f"sc://127.0.0.1:{server.listening_address[1]}"
    finally:
        server.stop()


@contextmanager
def spark(home: Path) -> Iterator[str]:
    """Spark's own server, of an installation of PySpark."""
    port = free_port()
    options = {
        "spark.connect.grpc.binding.port": str(port),
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
    }
    given = [part for name, value in options.items() for part in ("--conf", f"{name}={value}")]
    service = "org.apache.spark.sql.connect.service.SparkConnectServer"
    command = ["bash", str(home / "bin" / "spark-submit"), "--master", "local[2]", *given, "--class", service, "spark-internal"]
    # Executors run this Python, and find the tests' object store.
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(Path.cwd())}
    with tempfile.TemporaryFile() as said:
        server = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
        try:
            wait_until(partial(_is_open, port), within_s=120, what="Spark Connect")
            yield f"sc://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def spark_engine(store: DirectoryStore, *, remote: str, work_uri: str, workdir: Path, **given: Any) -> Any:
    """An engine whose cluster reads the store's files from disk."""
    from feature_platform.adapters.compute.spark.engine import SparkEngine

    return SparkEngine(store, remote=remote, work_uri=work_uri, workdir=workdir, locate=lambda uri: str(store.path(uri)), **given)
