"""One raw object judged on an executor, with this project's own reader and rules, and staged for the cluster.

Executors import this module, so nothing of Spark's client belongs here, nor what becomes of the rows (``spark.validation``).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Any, Final

from feature_platform.adapters.compute.duckdb.session import EngineLimits
from feature_platform.adapters.compute.duckdb.validation import DayValidation
from feature_platform.adapters.machine.spool import spool
from feature_platform.core.contract.source import load_source_contract
from feature_platform.core.events.raw import ReadLimits, manifest_from
from feature_platform.errors import ConflictError, InvalidDataError
from feature_platform.ports.object_store import ObjectStore

_LIMITS: Final = EngineLimits(threads=1)
"""Of one raw object on an executor, which has a thread for each; beyond this memory it spills to the executor's disk."""


@dataclass(frozen=True)
class Judge:
    """What an executor does with the raw object at a place of the manifest, as values that can be pickled; returns JSON text.

    The text has ``release``, and either ``rows`` and ``files``, which were written below ``prefix``, or an ``error`` that is not to be
    tried again.
    """

    store: ObjectStore
    source: bytes
    raw: Mapping[str, Any]
    prefix: str
    read_limits: ReadLimits

    def __call__(self, place: int) -> str:
        source = load_source_contract(self.source, file="the source contract")
        whole = manifest_from(self.raw)
        alone = replace(whole, objects=(whole.objects[place],))
        answer: dict[str, Any] = {"release": version("feature-platform")}
        try:
            with spool("judge-", parent=None) as directory:
                validation = DayValidation(self.store, source=source, directory=directory, limits=_LIMITS, read_limits=self.read_limits)
                rows, files = validation.stage(alone, place=place, prefix=f"{self.prefix}{place}/")
            return json.dumps({**answer, "rows": rows, "files": [asdict(file) for file in files]})
        except InvalidDataError as error:
            return json.dumps({**answer, "error": [error.kind, error.subject, error.faults]})
        except ConflictError as error:
            return json.dumps({**answer, "error": [error.kind, str(error), ()]})
