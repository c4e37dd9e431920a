"""Runs in a pod: reads features at a steady rate, as a service does, and keeps every different row that it was answered.

Reads a JSON document from the file that its argument names: url, features, entities, rate. Ends when /tmp/stop appears and prints
a report; whether the rows are right is judged by whoever knows what was published. Half of the threads keep a connection for some seconds,
the others open one for each request.
"""

import http.client
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

THREADS = 4
RECYCLE_S = 3.0  # shorter than the pause in which a leaving pod still answers, as the documentation tells clients
TIMEOUT_S = 10.0
REACH_S = 30.0
READS, STOP = Path("/tmp/reads"), Path("/tmp/stop")

task: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
target = urlsplit(task["url"])
body = json.dumps({"features": task["features"], "entities": {"user_id": task["entities"]}})
lock = threading.Lock()
latencies: list[float] = []
failures: list[str] = []
rows: dict[tuple[str, str], list[float]] = {}  # entity and row → how often, first and last seen


def ask(connection: http.client.HTTPConnection) -> list[tuple[str, str]]:
    """The answered row of every entity, as JSON."""
    connection.request("POST", "/get-online-features", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"status {answer.status}: {content[:300]!r}")
    document = json.loads(content)
    columns = [
        (name, result["values"])
        for name, result in zip(document["metadata"]["feature_names"], document["results"], strict=True)
        if name != "user_id"
    ]
    return [
        (str(entity), json.dumps({name: values[place] for name, values in columns}, sort_keys=True))
        for place, entity in enumerate(task["entities"])
    ]


def reach() -> None:
    """Wait for the first answer: network policies let a new pod's address in only a moment after the pod has started."""
    deadline = time.monotonic() + REACH_S
    while True:
        try:
            ask(http.client.HTTPConnection(target.hostname or "", target.port, timeout=TIMEOUT_S))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def note(answered: list[tuple[str, str]], took_s: float) -> None:
    """Count an answer."""
    now = time.time()
    with lock:
        latencies.append(took_s)
        for key in answered:
            seen = rows.setdefault(key, [0, now, now])
            seen[0] += 1
            seen[2] = now


def read(number: int) -> None:
    """One client: its share of the rate, until told to stop."""
    keeps_connections = number % 2 == 0
    connection, opened = None, 0.0
    pause = THREADS / task["rate"]
    due = time.monotonic() + pause * number / THREADS
    while not STOP.exists():
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due + pause, time.monotonic() - 1)  # a stall is made up for by a second's worth of requests at most
        started = time.monotonic()
        try:
            if connection is None or not keeps_connections or started - opened > RECYCLE_S:
                if connection is not None:
                    connection.close()
                connection, opened = http.client.HTTPConnection(target.hostname or "", target.port, timeout=TIMEOUT_S), started
            note(ask(connection), time.monotonic() - started)
        except (OSError, http.client.HTTPException, RuntimeError, ValueError, KeyError) as error:
            with lock:
                failures.append(f"{time.time():.1f} after {time.monotonic() - started:.2f} s: {type(error).__name__}: {error}"[:400])
            if connection is not None:
                connection.close()
            connection = None


reach()
READS.touch()
began = time.monotonic()
threads = [threading.Thread(target=read, args=(number,)) for number in range(THREADS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
seconds = time.monotonic() - began
ordered = sorted(latencies)
report = {
    "seconds": round(seconds, 1),
    "requests": len(latencies) + len(failures),
    "per_second": round((len(latencies) + len(failures)) / seconds, 1),
    "failed": len(failures),
    "failures": failures[:10],
    "milliseconds": {
        f"p{q}": round(1000 * ordered[min(len(ordered) - 1, len(ordered) * q // 100)], 1) for q in (50, 95, 99, 100) if ordered
    },
    "rows": [
        {"entity": entity, "row": json.loads(row), "count": int(count), "first": first, "last": last}
        for (entity, row), (count, first, last) in rows.items()
    ],
}
print("REPORT " + json.dumps(report, ensure_ascii=False))
