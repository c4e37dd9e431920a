"""Look at all parts of a feature set and tell its state. What a state means does not belong here (``core.operations.health``)."""

from collections.abc import MutableMapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.deviation import CheckResult, warnings
from feature_platform.core.layout import partition_of
from feature_platform.core.operations.health import LATE_AFTER, Health, lateness, problems_of
from feature_platform.core.versions.checks import missing_days
from feature_platform.core.versions.findings import ASK, LOOK_AGAIN, MAKE_ROOM, Finding
from feature_platform.core.versions.log import History
from feature_platform.errors import FeaturePlatformError
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.inspect import Status, counted, readable, registered, status
from feature_platform.use_cases.promote import judge, judge_day
from feature_platform.use_cases.serve import glance

FULL_RATIO: Final = 0.95
"""Share of Redis' maxmemory above which the next load may not fit."""

Judged = MutableMapping[str, tuple[int, list[CheckResult]]]
"""Feature set → the next sequence of its log when latest was judged, and every check of latest and of its raw day."""


def health(
    platform: Platform,
    contract: Contract,
    *,
    now: datetime,
    late_after: timedelta = LATE_AFTER,
    history: History | None = None,
    judged: Judged | None = None,
) -> Health:
    """Health of one feature set's raw data, versions, latest, registry and online store; of the values online, the first rows are compared.

    Args:
        late_after: How long after a day's end its version may become latest.
        history: The state of the log, where it was read already.
        judged: Check results of earlier calls, which save a frequent caller up to 58 reads while the log does not change.
    """
    name = contract.feature_set
    try:
        seen = status(platform, contract, now=now, history=history)
    except FeaturePlatformError as error:
        unseen = Finding("unreachable", "versions", "the log of versions", f"cannot be looked at: {error}", LOOK_AGAIN)
        return Health(name, tuple(problems_of(name, [unseen])), served=None, as_of=None)
    findings = [*seen.findings, *(readable("registry", lambda: registered(platform, contract, seen.latest)) if seen.latest else ())]
    if not any(found.code == "unreachable" and found.file == "online" for found in findings):
        findings += readable("online", lambda: _online(platform, seen))
    known = {} if judged is None else judged
    findings += readable("versions", lambda: _warned(platform, seen, known))
    as_of = seen.latest.as_of if seen.latest else None
    problems = (*problems_of(name, findings), *lateness(name, as_of, now=now, late_after=late_after))
    served = seen.online.target.version if seen.online else None
    return Health(name, problems, served=served, as_of=as_of, checks=tuple(known.get(name, (0, []))[1]))


def _warned(platform: Platform, seen: Status, judged: Judged) -> list[Finding]:
    """Checks of latest, and of its raw day, that failed and only warn."""
    contract, end = seen.contract, seen.history.next_sequence
    if seen.latest is None or seen.metadata is None:
        return []
    if judged.get(contract.feature_set, (0, []))[0] != end:
        day = partition_of(seen.latest.as_of)
        of_day = [
            replace(result, name=f"{part.source}: {result.name}") if part.sources else result
            for part in contract.parts
            for result in judge_day(platform, platform.catalog.source_of(part), day)
        ]
        results = [*judge(platform, contract, seen.history, seen.latest), *of_day, missing_days(contract, seen.metadata)]
        judged[contract.feature_set] = end, results
    warned = warnings(judged[contract.feature_set][1])
    return [Finding("warned", check, "no fault", f"{seen.latest.version}: {told}", ASK) for check, told in warned.items()]


def _online(platform: Platform, seen: Status) -> list[Finding]:
    """Findings about room for the next load and, where the marker names latest, about the values online."""
    name, used_ratio = seen.contract.feature_set, platform.online.used_ratio()
    full = Finding("online_full", "online", f"at most {FULL_RATIO:.0%}", f"{used_ratio:.0%}", MAKE_ROOM)
    is_served = seen.online is not None and seen.latest is not None and seen.online.target.version == seen.latest.version
    values = counted(glance(platform, name, history=seen.history), where="online") if is_served else []
    return [full, *values] if used_ratio > FULL_RATIO else values
