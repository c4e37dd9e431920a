"""Made-up raw events of a small product, as upstream would deliver them: several files a day in mixed formats.

Every day has bad rows (a missing user, text where a number belongs, NaN, a duplicate, an event of another day). One user's country is not
ASCII, one user disappears after the first day, and one's events arrive late. The same day always yields the same bytes. Uploading files
does not belong here (``cli.demo``).
"""

import csv
import gzip
import io
import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

USERS: Final = tuple(range(1001, 1201))
REGULAR, UNICODE, VANISHING, LATE = 1001, 1002, 1003, 1004
COUNTRIES: Final = ("PL", "DE", "JP", "BR", None)
TYPES: Final = ("view", "view", "view", "click", "search", "purchase")
SCHEMA: Final = pa.schema(
    [
        ("event_id", pa.string()),
        ("user_id", pa.int64()),
        ("event_time", pa.timestamp("us", tz="UTC")),
        ("event_type", pa.string()),
        ("session_sec", pa.float64()),
        ("country", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of the log."""

    event_id: str
    user_id: int
    event_time: datetime
    event_type: str
    session_sec: float | None
    country: str | None


def events_of(day: date, *, first_day: date) -> list[Event]:
    """The good events of a day, without those that arrive late."""
    rng = random.Random(day.toordinal())  # noqa: S311 made-up data
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    events = []
    for user in USERS:
        if user == LATE or (user == VANISHING and day != first_day):
            continue
        for number in range(rng.randint(0, 6) if user not in {REGULAR, UNICODE, VANISHING} else rng.randint(2, 6)):
            second, session = rng.uniform(0, 86_399), round(rng.uniform(1, 900), 3)
            country = "Zażółć gęślą jaźń 日本" if user == UNICODE else rng.choice(COUNTRIES)
            events.append(
                Event(
                    event_id=f"{day:%Y%m%d}-{user}-{number}",
                    user_id=user,
                    event_time=midnight + timedelta(microseconds=round(second * 1e6)),
                    event_type=rng.choice(TYPES),
                    session_sec=session if rng.random() < 0.95 else None,
                    country=country,
                )
            )
    return events


def late_events(day: date) -> list[Event]:
    """Events that are delivered for a day only after it was built."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return [Event(f"{day:%Y%m%d}-{LATE}-{n}", LATE, midnight + timedelta(hours=20 + n), "purchase", 60.0 * (n + 1), "PL") for n in range(3)]


def day_files(day: date, *, first_day: date) -> Mapping[str, bytes]:
    """File name → bytes of one day, bad rows included."""
    events = events_of(day, first_day=first_day)
    parts = [events[start::4] for start in range(4)]
    stray = replace(events[0], event_id=f"{day:%Y%m%d}-stray", event_time=events[0].event_time - timedelta(days=2))
    return {
        "events-00.parquet": _parquet([*parts[0], parts[1][0], stray]),  # a duplicate of the CSV's first row, and an event of another day
        "events-01.csv": _csv(parts[1], bad=[{"user_id": ""}, {"user_id": "not a number"}, {"session_sec": "NaN"}]),
        "events-02.jsonl.gz": gzip.compress(_json_lines(parts[2]) + b'{"event_id": "cut off', mtime=0),
        "events-03.csv.gz": gzip.compress(_csv(parts[3], bad=[{"event_time": "yesterday"}]), mtime=0),
    }


def late_file(day: date) -> Mapping[str, bytes]:
    """The file that corrects a day."""
    return {"events-late.jsonl": _json_lines(late_events(day))}


def _parquet(events: list[Event]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([asdict(event) for event in events], schema=SCHEMA), sink)
    return sink.getvalue()


def _text(event: Event) -> dict[str, Any]:
    return {**asdict(event), "event_time": event.event_time.isoformat()}


def _csv(events: list[Event], *, bad: list[dict[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=SCHEMA.names)
    writer.writeheader()
    for event in events:
        writer.writerow(_text(event))
    for number, change in enumerate(bad):
        writer.writerow({**_text(events[0]), "event_id": f"{events[0].event_id}-bad-{number}", **change})
    return text.getvalue().encode()


def _json_lines(events: list[Event]) -> bytes:
    return "".join(json.dumps(_text(event), ensure_ascii=False) + "\n" for event in events).encode()
