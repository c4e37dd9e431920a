"""Commit a build as a version. How it is written does not belong here (``core.publishing``), nor moving latest (``use_cases.promote``)."""

from feature_platform.core.publishing.publication import CommittedVersion
from feature_platform.ports.platform import Platform
from feature_platform.use_cases.build import FeatureBuild


def commit(
    platform: Platform, feature_set: str, partition: str, build: FeatureBuild, *, actor: str = "", reason: str = ""
) -> CommittedVersion:
    """Make a build a version, or find the version that it is already; see :meth:`FeatureSetStore.commit`.

    Args:
        actor: Who commits; the build's Dagster run where left out.
    """
    run_id = build.provenance.run_id
    return platform.feature_sets.commit(
        build.table,
        contract=platform.catalog.contract(feature_set),
        template=platform.catalog.templates[feature_set],
        as_of=build.as_of,
        provenance=build.provenance,
        idempotency_key=f"{run_id}:{partition}",
        actor=actor or f"dagster run {run_id}",
        reason=reason,
    )
