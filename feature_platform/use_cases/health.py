"""Look at a feature set's whole path and say in which state it is. What a state means is ``core.operations.health``."""

from datetime import datetime, timedelta

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.operations.health import LATE_AFTER, Health, lateness, problems_of
from feature_platform.core.versions.findings import LOOK_AGAIN, Finding
from feature_platform.errors import FeaturePlatformError
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.inspect import readable, registered, status


def health(platform: Platform, contract: Contract, *, now: datetime, late_after: timedelta = LATE_AFTER) -> Health:
    """Raw data, versions, latest, registry and online store of one feature set. Values are not compared; ``verify`` does that."""
    name = contract.feature_set
    try:
        seen = status(platform, contract, now=now)
    except FeaturePlatformError as error:
        unseen = Finding("unreachable", "versions", "the log of versions", f"cannot be looked at: {error}", LOOK_AGAIN)
        return Health(name, tuple(problems_of(name, [unseen])), served=None, as_of=None)
    findings = [*seen.findings, *(readable("registry", lambda: registered(platform, contract, seen.latest)) if seen.latest else ())]
    as_of = seen.latest.as_of if seen.latest else None
    problems = (*problems_of(name, findings), *lateness(name, as_of, now=now, late_after=late_after))
    return Health(name, problems, served=seen.online.target.version if seen.online else None, as_of=as_of)
