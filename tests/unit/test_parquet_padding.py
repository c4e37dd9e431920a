"""Padding gives a Parquet file new bytes and leaves every row where readers find it."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_platform.adapters.feature_set_store.parquet_padding import pad_parquet
from feature_platform.errors import InvalidDataError

TABLE = pa.table({"user_id": range(3_000), "name": [f"user {number}" for number in range(3_000)]})


def parquet():
    sink = io.BytesIO()
    pq.write_table(TABLE, sink, row_group_size=700, write_page_checksum=True)
    return sink.getvalue()


@pytest.mark.parametrize("padding", [b"rollback 7 user_features", b"", b"PAR1", bytes(100_000)], ids=["mark", "none", "magic", "long"])
def test_a_padded_file_reads_as_before_with_checksums_and_in_any_order(tmp_path, padding):
    path = tmp_path / "features.parquet"
    path.write_bytes(parquet())
    pad_parquet(path, padding=padding)
    assert path.stat().st_size == len(parquet()) + len(padding)
    assert pq.read_table(path, page_checksum_verification=True).equals(TABLE)
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        assert file.read_row_group(3, columns=["name"]).equals(TABLE.select(["name"]).slice(2_100, 700))


def test_other_readers_read_a_padded_file_too(tmp_path):
    import duckdb
    import polars as pl

    path = tmp_path / "features.parquet"
    path.write_bytes(parquet())
    pad_parquet(path, padding=b"rollback 7 user_features")
    assert pl.read_parquet(path)["user_id"].sum() == duckdb.sql(f"SELECT sum(user_id) FROM '{path}'").fetchall()[0][0] == 4_498_500


def test_the_same_padding_gives_the_same_bytes_and_another_gives_others(tmp_path):
    bodies = []
    for number, mark in enumerate((b"rollback 7", b"rollback 7", b"rollback 8")):
        path = tmp_path / str(number)
        path.write_bytes(parquet())
        pad_parquet(path, padding=mark)
        bodies.append(path.read_bytes())
    assert bodies[0] == bodies[1] != bodies[2]


@given(st.one_of(st.binary(max_size=64), st.binary(max_size=40).map(lambda body: body + b"PAR1")))
def test_what_does_not_end_as_parquet_is_refused_and_left_as_it_was(tmp_path_factory, body):
    footer = int.from_bytes(body[-8:-4], "little") if len(body) >= 8 and body.endswith(b"PAR1") else len(body)
    if len(body) - 8 - footer >= 4:
        return
    path = tmp_path_factory.mktemp("padding") / "broken.parquet"
    path.write_bytes(body)
    with pytest.raises(InvalidDataError, match=r"broken\.parquet does not end with a Parquet footer"):
        pad_parquet(path, padding=b"x")
    assert path.read_bytes() == body
