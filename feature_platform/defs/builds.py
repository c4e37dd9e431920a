"""What a feature set's asset hands to the IO manager. How it is computed or stored does not belong here."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from feature_platform.core.versions.feature_table import FeatureTable
from feature_platform.core.versions.metadata import Provenance


@dataclass(frozen=True, slots=True)
class FeatureBuild:
    """One partition's rows, the moment they are true as of, and where they came from."""

    table: FeatureTable
    as_of: datetime
    provenance: Provenance


FeatureBuilds = Mapping[str, FeatureBuild]
"""Partition key → build; one entry for each partition that a run covers."""
