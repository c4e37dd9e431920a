"""Retention: which versions of a feature set nothing needs any more. What a policy keeps is ``core.publishing.retention``."""

from feature_platform.core.publishing.retention import Candidate, Policy, Sweep
from feature_platform.ports.platform import Platform


def survey(platform: Platform, feature_set: str, *, policy: Policy) -> list[Candidate]:
    """What :func:`collect` would delete now; writes nothing."""
    return platform.feature_sets.survey(feature_set, policy=policy, protected=online_versions(platform, feature_set))


def collect(platform: Platform, feature_set: str, *, policy: Policy, actor: str) -> Sweep:
    """Expire what the policy does not keep, wait its grace, look at pins and the online store again, then delete."""
    return platform.feature_sets.collect(feature_set, policy=policy, actor=actor, protected=lambda: online_versions(platform, feature_set))


def online_versions(platform: Platform, feature_set: str) -> list[str]:
    """Versions that the online store names and that retention must therefore keep."""
    marker = platform.online.marker(project=platform.project, view=feature_set)
    return [version.version for version in marker.leftovers] if marker else []
