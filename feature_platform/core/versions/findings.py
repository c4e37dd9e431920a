"""Findings: what verify, doctor and reproduce name when something is not as it must be. One type, one closed set of codes.

Finding them does not belong here (``core.versions.proof``, ``use_cases``).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from feature_platform.core.contract.feature_set import Contract

Code = Literal[
    "missing_file", "extra_file", "size_differs", "sha256_differs", "unreadable", "metadata_differs", "schema_differs",
    "identity_differs", "row_count_differs", "content_hash_differs", "csv_differs", "stale_projection", "source_gone", "source_changed",
    "source_contract_differs", "transform_differs", "not_reproduced", "stale_versions", "stale_latest", "stale_online", "never_built",
    "not_committed", "not_promoted", "held_back", "warned", "latest_differs", "contract_differs", "not_applied", "features_differ",
    "not_online", "load_unfinished", "online_differs", "online_full", "mismatched", "missing", "extra", "unreachable",
]  # fmt: skip

RESTORE: Final = "Restore the object from its previous S3 version, or roll back to a proved version and rebuild this one."
REPORT: Final = (
    "Its bytes are those that were published, so that no other S3 version of it is better: roll back to a proved version, keep this one "
    "and report it."
)
REMOVE: Final = "Remove the object; the platform did not write it."
HEAL: Final = "The next run heals latest; to heal it now, run `feature-platform doctor --heal`."
MATERIALIZE: Final = "Materialize the feature set, its latest and its online asset for the partition."
LOAD: Final = "Materialize the online asset: it loads latest exactly."
REBUILD: Final = (
    "Build a version by the deployed contract, or deploy the contract that latest was built by; until then latest is served as built."
)
LOOK_AGAIN: Final = "Look again when the part that it names can be reached."
CORRECT: Final = (
    "Look at its distributions, then have upstream correct it, change the contract's checks, or run `feature-platform promote`."
)
ASK: Final = "Ask upstream whether that is right, or change what the contract's checks ask; it only warns, so that nothing is kept back."
MAKE_ROOM: Final = "Raise maxmemory, or decommission what nobody reads; until then loads fail and what is online stays."
REPROJECT: Final = "Delete this object of latest/, which is a copy, then run `feature-platform doctor --heal`: that writes it anew."


def refresh_remedy(feature_set: str) -> str:
    """How to mend what rests on raw data that has changed."""
    return f"Rebuild it from what is there now: `feature-platform refresh {feature_set}`; or restore the raw objects' previous S3 versions."


_SENTENCES: Final = {
    "stale_versions": "{found}",
    "stale_latest": "latest {found}",
    "stale_online": "online {found}",
    "never_built": "{found}",
    "not_committed": "nothing is published; materialize a partition",
    "not_promoted": "nothing was promoted",
    "held_back": "{found}",
    "warned": "{found}",
    "latest_differs": "latest/ shows {found}, the log's head is {expected}",
    "contract_differs": "built by contract {found}, deployed is {expected}",
    "not_online": "nothing is online",
    "load_unfinished": "a load of {expected} began at {found} and has not finished",
    "online_differs": "online is {found}, latest is {expected}",
    "online_full": "{found} of Redis' maxmemory is used",
    "unreachable": "{found}",
}
"""How a person reads a finding of the platform's parts; those of files say what was expected and found."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it must be.

    ``file`` names what: a file of a version or of ``latest/``, one of a version's raw objects, or a part of the platform (``versions``,
    ``latest``, ``contract``, ``registry``, ``online``), or the check that warned.
    """

    code: Code
    file: str
    expected: str
    found: str
    remedy: str = REPORT

    @property
    def sentence(self) -> str:
        """What is wrong, without the remedy."""
        return _SENTENCES.get(self.code, "{code}: expected {expected}, found {found}").format(**asdict(self))

    def __str__(self) -> str:
        return f"{self.file}: {self.code}: expected {self.expected}, found {self.found}. {self.remedy}"


def registry_findings(contract: Contract, *, features: Sequence[str] | None, schema_hash: str | None) -> list[Finding]:
    """Where a registry's feature view differs from its contract.

    Args:
        features: Names of the view's features in order; None where there is no such view.
        schema_hash: The hash of the contract that the view was made from.
    """
    if features is None:
        return [Finding("not_applied", "registry", f"feature view {contract.feature_set}", "none", MATERIALIZE)]
    expected, found = ", ".join(column.name for column in contract.feature_columns), ", ".join(features)
    findings = [] if found == expected else [Finding("features_differ", "registry", expected, found, MATERIALIZE)]
    if schema_hash != contract.schema_hash:
        findings.append(Finding("contract_differs", "registry", contract.schema_hash, str(schema_hash), MATERIALIZE))
    return findings


def documents(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Findings as JSON values."""
    return [asdict(finding) for finding in findings]
