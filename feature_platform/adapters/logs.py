"""How a process logs: lines for people, or one JSON object a line for machines. What is logged does not belong here."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Final

KNOWN: Final = ("feature_set", "partition", "version", "run_id")
"""Fields that a log call may give as ``extra``, besides its message."""

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JsonLines(logging.Formatter):
    """A record as JSON with ``time`` (UTC), ``level``, ``logger``, ``message``, what is :data:`KNOWN`, and ``exception`` after an error."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        document = {"time": time, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        document |= {name: str(value) for name in KNOWN if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)


def configure_logs(*, is_json: bool) -> None:
    """Log to standard error, the platform from INFO, libraries from WARNING; as JSON also Python's warnings and uncaught errors.

    A process whose logging is configured already is not changed.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if is_json else logging.Formatter(_TEXT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    platform = logging.getLogger("feature_platform")
    platform.setLevel(logging.INFO)
    if is_json:
        logging.captureWarnings(True)
        sys.excepthook = lambda *error: platform.critical("This process ends because of an uncaught error.", exc_info=error)
