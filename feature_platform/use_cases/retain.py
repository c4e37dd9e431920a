"""Retention: delete versions that nothing needs any more. What a policy keeps does not belong here (``core.publishing.retention``)."""

from functools import partial
from itertools import chain

from feature_platform.core.publishing.retention import Candidate, Policy, Sweep
from feature_platform.ports.platform import Platform


def survey(platform: Platform, feature_set: str, *, policy: Policy) -> list[Candidate]:
    """What :func:`collect` would delete now; writes nothing."""
    return platform.feature_sets.survey(feature_set, policy=policy, protected=named_elsewhere(platform, feature_set))


def collect(platform: Platform, feature_set: str, *, policy: Policy, actor: str) -> Sweep:
    """Expire the versions that the policy does not keep, wait for its grace, check pins and the online store again, then delete."""
    named = partial(named_elsewhere, platform, feature_set)
    return platform.feature_sets.collect(feature_set, policy=policy, actor=actor, protected=named)


def named_elsewhere(platform: Platform, feature_set: str) -> set[str]:
    """Versions that retention must keep because something outside the log names them: the online store, or a set that read them."""
    marker = platform.online.marker(project=platform.project, view=feature_set)
    named = {version.version for version in marker.leftovers} if marker else set()
    for reader in platform.catalog.contracts.values():
        if feature_set in reader.feature_sets:
            named |= _read_by(platform, reader.feature_set, feature_set)
    return named


def _read_by(platform: Platform, reader: str, feature_set: str) -> set[str]:
    store = platform.feature_sets
    readable = {version.version for version in store.history(reader).live} | set(store.pins(reader))
    inputs = chain.from_iterable(store.metadata(reader, version).inputs for version in sorted(readable))
    return {item.version for item in inputs if item.feature_set == feature_set}
