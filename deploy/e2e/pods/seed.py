"""Runs in a platform pod: puts the demo's raw events of some days into the environment's S3, as upstream would.

Arguments: first day, number of days. Days that are there already stay as they are.
"""

import sys
from datetime import date, timedelta

from feature_platform.cli.demo import write_raw
from feature_platform.local import demo_events
from feature_platform.wiring import open_platform

platform = open_platform()
first = date.fromisoformat(sys.argv[1])
for number in range(int(sys.argv[2])):
    day = first + timedelta(days=number)
    write_raw(platform, day, demo_events.day_files(day, first_day=first))
