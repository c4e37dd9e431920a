"""What must hold of a feature set after anything whatever has happened to its publishers; each function raises what it finds.

The invariants are those that the simulator checks after every step; here they are read from a real store.
"""

import io
from typing import Any

import pyarrow.parquet as pq

from feature_platform.core.layout import PARQUET
from feature_platform.core.versions.content_hash import content_hash
from feature_platform.core.versions.log import History
from feature_platform.use_cases.verify import verify_latest, verify_version
from tests.support.feature_set_samples import FEATURE_SET, rows


def hash_of(content: str, *, day: int) -> str:
    """The content hash of a sample's rows."""
    return content_hash(rows(content, day=day).to_arrow())


def check_versions_are_whole(store: Any) -> History:
    """Every version that the log names is proved; the history it adds up to."""
    history = store.history(FEATURE_SET)
    for version in history.live:
        assert [str(finding) for finding in verify_version(store, FEATURE_SET, version.version)] == []
    return history


def check_unaware_reader(store: Any) -> str | None:
    """Who reads ``latest/features.parquet`` and nothing else gets one whole file of a committed version; which."""
    stored = store.objects.get(store.layout(FEATURE_SET).latest_file(PARQUET))
    if stored is None:
        return None
    with pq.ParquetFile(io.BytesIO(stored.body), page_checksum_verification=True) as file:
        said = {key.decode(): value.decode() for key, value in file.metadata.metadata.items() if key != b"ARROW:schema"}
        table = file.read()
    # The history is read after the file: a version is committed before it is shown.
    version = store.history(FEATURE_SET).versions[said["version"]]
    assert content_hash(table) == version.content_hash == said["content_hash"]
    return version.version


def is_torn(store: Any) -> bool:
    """Whether the four files of ``latest/`` do not all show the head at this moment."""
    return store.history(FEATURE_SET).head is not None and verify_latest(store, FEATURE_SET) != []


def check_heals(store: Any) -> None:
    """One heal makes the four files equal the head, and a second one finds nothing to do."""
    history, _ = store.heal(FEATURE_SET)
    if history.head is not None:
        assert [str(finding) for finding in verify_latest(store, FEATURE_SET)] == []
        assert check_unaware_reader(store) == history.head.version
    assert store.heal(FEATURE_SET)[1] == 0


def contents(store: Any) -> list[tuple[str, str]]:
    """Moment and content hash of every live version, in promotion order."""
    return [(version.as_of.date().isoformat(), version.content_hash) for version in store.history(FEATURE_SET).live]
