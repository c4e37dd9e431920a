"""Reading objects through DuckDB, on a real S3 server: right under threads, pinned to one version, and nothing else in reach."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_platform.adapters.compute.duckdb.session import EngineLimits, PinnedObject, open_session, pinned_path
from feature_platform.errors import ConflictError, NotFoundError
from tests.support.services import S3Bucket

ROWS = 200_000


@pytest.fixture
def pinned(s3: S3Bucket) -> PinnedObject:
    """Many small row groups, so that threads read one file at once."""
    body = io.BytesIO()
    pq.write_table(pa.table({"n": range(ROWS), "s": [f"text-{n}" for n in range(ROWS)]}), body, row_group_size=5_000)
    uri = f"s3://{s3.bucket}/events.parquet"
    etag = s3.store.put(uri, body.getvalue(), write_id="w", sha256=None, condition=None)
    return PinnedObject(uri, etag, len(body.getvalue()))


@contextmanager
def session(s3: S3Bucket, pinned: PinnedObject, directory: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_session(store=s3.store, objects={"a.parquet": pinned}, directory=directory, limits=EngineLimits(threads=4)) as connection:
        yield connection


QUERY = f"SELECT count(*), sum(n), sum(length(s)), min(s), max(s) FROM read_parquet('{pinned_path('a.parquet')}')"


def test_threads_that_share_a_file_each_read_their_own_place(s3: S3Bucket, pinned: PinnedObject, tmp_path: Path) -> None:
    """With one position shared by DuckDB's threads about every second such query failed, or read another row group's bytes."""
    expected = (ROWS, ROWS * (ROWS - 1) // 2, sum(len(f"text-{n}") for n in range(ROWS)), "text-0", "text-99999")
    for _ in range(10):
        with session(s3, pinned, tmp_path) as connection:
            assert connection.execute(QUERY).fetchall() == [expected]


def test_an_object_that_was_replaced_is_a_conflict_and_never_a_mixture(s3: S3Bucket, pinned: PinnedObject, tmp_path: Path) -> None:
    s3.store.put(pinned.uri, b"x" * pinned.size_bytes, write_id="other", sha256=None, condition=None)
    with pytest.raises(ConflictError), session(s3, pinned, tmp_path) as connection:
        connection.execute(QUERY).fetchall()


def test_an_object_that_is_gone_is_not_found(s3: S3Bucket, pinned: PinnedObject, tmp_path: Path) -> None:
    s3.store.delete(pinned.uri)
    with pytest.raises(NotFoundError), session(s3, pinned, tmp_path) as connection:
        connection.execute(QUERY).fetchall()


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM read_parquet('pinned://b.parquet')",
        "COPY (SELECT 1 AS n) TO 'pinned://b.parquet'",
        "COPY (SELECT 1 AS n) TO '/tmp/b.csv'",
        "SELECT * FROM read_text('/etc/hostname')",
        "ATTACH '/tmp/b.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '64GB'",
        "SET allowed_directories = ['/']",
    ],
)
def test_a_session_reaches_nothing_but_its_objects(s3: S3Bucket, pinned: PinnedObject, tmp_path: Path, statement: str) -> None:
    with session(s3, pinned, tmp_path) as connection:
        with pytest.raises((duckdb.Error, FileNotFoundError, PermissionError)):
            connection.execute(statement).fetchall()
        assert connection.execute(f"SELECT count(*) FROM read_parquet('{pinned_path('a.parquet')}')").fetchall() == [(ROWS,)]
