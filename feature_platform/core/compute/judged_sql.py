"""Which of a day's judged rows are kept, in which order, and what is said of the others, as SQL: in one process, or on any engine.

Judging a row by itself does not belong here (``validation_sql``), nor running the SQL (``adapters.compute``).
"""

from collections.abc import Iterator, Sequence
from typing import Final

from feature_platform.core.compute.dialect import identifier, text_literal
from feature_platform.core.compute.validation_sql import PARSED
from feature_platform.core.contract.source import SourceContract

LOSERS: Final = "losers"
"""``file`` and ``row`` of the valid rows that are rejected as duplicates of another row."""

STAGED: Final = "staged"
"""The rows of :func:`select_staged`, wherever they were written."""

JUDGED: Final = "judged"
"""The same with ``verdict``: the reason to reject a row, ``duplicate`` included, or null."""

_LAST: Final = "'ASC NULLS LAST'"
_NO_TEXT: Final = "''"


def find_losers(source: SourceContract) -> Iterator[str]:
    """Statements that fill :data:`LOSERS`.

    Of equal events (equal dedup keys, null equal to null; without dedup keys all columns equal) the one with the earliest event time is
    kept, then the one with the least values in contract order, nulls last. The kept values therefore do not depend on file names, file
    order or threads; only among wholly equal rows the manifest's order decides which one is kept.
    """
    listed = ", ".join(_keys(source))
    # By hash first: most keys occur once, and a table of 8-byte hashes fits into memory where one of texts would spill to disk.
    yield f"CREATE TABLE doubles AS SELECT hash({listed}) AS h FROM {PARSED} WHERE reason IS NULL GROUP BY h HAVING count(*) > 1"
    yield (
        f"CREATE TABLE {LOSERS} AS SELECT file, row FROM (\n"
        f"  SELECT file, row, row_number() OVER (PARTITION BY {listed} ORDER BY {_total_order(source)}, file, row) AS place\n"
        f"  FROM {PARSED} AS p WHERE reason IS NULL AND hash({listed}) IN (SELECT h FROM doubles)\n) WHERE place > 1"
    )


def select_kept(source: SourceContract) -> str:
    """The validated events, sorted by event time, then by all columns in contract order: a total order, since of equal rows one is kept."""
    # With its relation, so that no column of the contract that is called v0 or file is meant.
    order = _total_order(source, relation="p.")
    return f"SELECT {_named(source)} FROM {PARSED} AS p WHERE p.reason IS NULL AND NOT {_is_loser()} ORDER BY {order}"


def select_quarantined(source: SourceContract) -> str:
    """The rejected rows in the order of the manifest: file position, row number, reason, detail, original text."""
    return describe_rejected(source, relation=f"(SELECT * FROM {PARSED} AS p WHERE reason IS NOT NULL OR {_is_loser()})")


def describe_rejected(source: SourceContract, *, relation: str) -> str:
    """The same for a relation of the rejected rows alone: columns of :data:`PARSED`, where a duplicate has no reason."""
    pairs = ", ".join(f"{text_literal(column.name)}: v{place}" for place, column in enumerate(source.columns))
    keys = ", ".join(source.dedup_keys) or "all columns"
    return (
        "SELECT file, row, coalesce(reason, 'duplicate') AS reason, "
        f"coalesce(detail, {text_literal(f'another row of the day has equal {keys}')}) AS detail, "
        f"CASE WHEN reason IS NULL THEN CAST(to_json({{{pairs}}}) AS VARCHAR) ELSE original END AS original\n"
        f"FROM {relation} ORDER BY file, row"
    )


def count_by_reason() -> str:
    """Rows by reason; the kept ones under null."""
    reason = f"CASE WHEN reason IS NULL AND {_is_loser()} THEN 'duplicate' ELSE reason END"
    return f"SELECT {reason} AS reason, count(*) FROM {PARSED} AS p GROUP BY 1"


def count_values(source: SourceContract, *, relation: str) -> str:
    """For each column of the contract, how many rows of a relation have a value of it."""
    return f"SELECT {', '.join(f'count(v{place}) AS v{place}' for place in range(len(source.columns)))} FROM {relation}"


def select_staged(source: SourceContract, *, file: int) -> str:
    """The rows of :data:`PARSED` as those of the raw object ``file``, with keys by which any engine can tell and sort them.

    ``same`` is equal for good rows of which one is kept; ``place`` sorts good rows as :func:`select_kept` does. Both are bytes, so that
    one engine alone decides what is equal and what comes first: zeros with a sign, lists, nulls in lists.
    """
    same, place = _sort_key(_keys(source)), _sort_key(_ordered(source))
    # Bad rows are told apart by their numbers: one key for all of them would send them all to one worker.
    return (
        f"SELECT CAST({file} AS INTEGER) AS file, row, reason, detail, original, {_values(source)},\n"
        f"CASE WHEN reason IS NULL THEN {same} ELSE {_sort_key(['row'])} END AS same,\n"
        f"CASE WHEN reason IS NULL THEN {place} END AS place FROM {PARSED}"
    )


def judge_staged() -> str:
    """The rows of :data:`JUDGED`, with duplicates found as :func:`find_losers` does."""
    # With its frame, because Sail cannot make the one by range that is meant without.
    rows = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
    count = f"row_number() OVER (PARTITION BY reason, same ORDER BY place, file, row {rows})"
    return f"SELECT *, CASE WHEN reason IS NULL AND {count} > 1 THEN 'duplicate' ELSE reason END AS verdict FROM {STAGED}"


def count_by_verdict() -> str:
    """See :func:`count_by_reason`."""
    return f"SELECT verdict, count(*) AS number FROM {JUDGED} GROUP BY verdict"


def select_kept_there(source: SourceContract) -> str:
    """See :func:`select_kept`."""
    return f"SELECT {_named(source)} FROM {JUDGED} AS j WHERE j.verdict IS NULL ORDER BY j.place, j.file, j.row"


def select_rejected_there(source: SourceContract) -> str:
    """The relation of :func:`describe_rejected`."""
    return f"SELECT file, row, reason, detail, original, {_values(source)} FROM {JUDGED} WHERE verdict IS NOT NULL ORDER BY file, row"


def _is_loser() -> str:
    return f"EXISTS (SELECT 1 FROM {LOSERS} AS l WHERE l.file = p.file AND l.row = p.row)"


def _values(source: SourceContract) -> str:
    return ", ".join(f"v{place}" for place in range(len(source.columns)))


def _named(source: SourceContract) -> str:
    return ", ".join(f"v{place} AS {identifier(column.name)}" for place, column in enumerate(source.columns))


def _keys(source: SourceContract) -> list[str]:
    places = {column.name: place for place, column in enumerate(source.columns)}
    return [f"v{places[name]}" for name in source.dedup_keys or places]


def _ordered(source: SourceContract) -> list[str]:
    places = {column.name: f"v{place}" for place, column in enumerate(source.columns)}
    return [places[source.event_time], *(value for name, value in places.items() if name != source.event_time)]


def _total_order(source: SourceContract, *, relation: str = "") -> str:
    return ", ".join(f"{relation}{value} ASC NULLS LAST" for value in _ordered(source))


def _sort_key(values: Sequence[str]) -> str:
    # The text at the end makes it bytes always: DuckDB's key of a single number is a number.
    return f"create_sort_key({', '.join(f'{value}, {_LAST}' for value in [*values, _NO_TEXT])})"
