"""A whole file is read, with what the process does afterwards."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_platform.core.parquet import read_whole

TABLE = pa.table({f"c{number}": [number + place / 7 for place in range(200)] for number in range(7)})
READS_AND_ENDS = """
import sys
from feature_platform.core.parquet import read_whole
with open(sys.argv[1], "rb") as file:
    table = read_whole(file.read() if sys.argv[2] == "bytes" else file)
rows = table.to_pylist()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    pq.write_table(TABLE, tmp_path / "a.parquet", write_page_checksum=True)
    return tmp_path / "a.parquet"


def test_a_path_a_file_and_bytes_give_the_same_rows_and_columns_that_are_asked_for(file: Path) -> None:
    with file.open("rb") as opened:
        assert [read_whole(source) for source in (file, opened, file.read_bytes())] == [TABLE] * 3
    assert read_whole(file, columns=["c3", "c1"]).column_names == ["c3", "c1"]


def test_a_damaged_page_is_an_error(file: Path) -> None:
    body = bytearray(file.read_bytes())
    body[100] ^= 1
    with pytest.raises((pa.ArrowException, OSError)):
        read_whole(bytes(body))


@pytest.mark.parametrize("source", ["file", "bytes"])
def test_a_process_that_reads_and_ends_ends_well(file: Path, source: str) -> None:
    """One of three aborted, read by ``pyarrow.parquet.read_table``."""
    ended = Counter(subprocess.run([sys.executable, "-c", READS_AND_ENDS, file, source], check=False).returncode for _ in range(12))
    assert ended == {0: 12}
