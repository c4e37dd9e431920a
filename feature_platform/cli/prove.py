"""``feature-platform prove``: compare logged answers with the published files. How does not belong here (``server.prove``)."""

import time
from typing import Annotated

import typer

from feature_platform.cli.output import FINDING, AsJson, command, say, show_one
from feature_platform.wiring import open_platform


@command
def prove(
    log: Annotated[str, typer.Argument(help="The response log: a directory, a file or an s3:// URI.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Compare every answer in a response log with the immutable files of the version that it names. Exits 1 unless all are proven."""
    from feature_platform.server.prove import Prover, log_files

    platform = open_platform()
    started_s = time.monotonic()
    report = Prover(platform.feature_sets).prove(log_files(log, platform.objects))
    took_s = time.monotonic() - started_s
    rows = report.rows.total()
    row = {
        "files": report.files,
        "answers": report.answers,
        "rows": rows,
        "proven": report.rows["proven"],
        "wrong": report.rows["wrong"],
        "of_unknown_origin": report.rows["unknown"],
        "faults": [{"file": fault.file, "row": fault.row, "fault": fault.said} for fault in report.faults],
        "rows_per_s": round(rows / took_s) if took_s else 0,
    }
    show_one(row, as_json=as_json, title="proof")
    if report.more_faults:
        say(f"{report.more_faults} more faults are not shown.")
    if not report.is_whole:
        raise typer.Exit(FINDING)
