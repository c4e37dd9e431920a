"""What a model needs of a feature set that it learned from, and whether a version gives it that. MLflow and HTTP do not belong here."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from pydantic import BaseModel, ConfigDict

from feature_platform.core.contract.compatibility import compare
from feature_platform.core.training.manifest import UsedFeatureSet
from feature_platform.errors import ContractError, InvalidDataError
from feature_platform.wiring import Platform

TAG: Final = "needs."
"""Begins the tag of a registered model that holds one :class:`NeededFeatures`; the feature set's name follows."""


class OtherContractError(ContractError):
    """Features do not mean what they meant to the model, so that it must not judge by them. Never retried."""


class NeededFeatures(BaseModel):
    """Features of one feature set as a model learned them.

    ``first_version`` to ``last_version`` answered its rows; ``schema_hash`` and ``sql_hash`` are of what built the last one.
    """

    model_config = ConfigDict(frozen=True)

    feature_set: str
    features: tuple[str, ...]
    first_version: str
    last_version: str
    schema_hash: str
    sql_hash: str | None


def needed_of(platform: Platform, used: UsedFeatureSet) -> NeededFeatures:
    """What a model that learns from a training set needs of one of its feature sets.

    Raises:
        InvalidDataError: No version answered any row.
        OtherContractError: Versions that answered mean different things by these features.
    """
    answered = [version for version in used.versions if version.rows and not version.is_gone]
    if not answered:
        raise InvalidDataError(f"No version of {used.feature_set} answered a row; expected labels after its first version.")
    last = answered[-1]
    needed = NeededFeatures(
        feature_set=used.feature_set,
        features=tuple(used.features.values()),
        first_version=answered[0].version,
        last_version=last.version,
        schema_hash=last.schema_hash,
        sql_hash=platform.feature_sets.metadata(used.feature_set, last.version).sql_hash,
    )
    require_same(platform, needed, {version.version: version.schema_hash for version in answered})
    return needed


def needed_in(tags: Mapping[str, str]) -> list[NeededFeatures]:
    """What a registered model needs, from its tags."""
    return [NeededFeatures.model_validate_json(text) for name, text in sorted(tags.items()) if name.startswith(TAG)]


@lru_cache(maxsize=1024)
def differences(platform: Platform, needed: NeededFeatures, version: str, schema_hash: str | None) -> tuple[str, ...]:
    """Why the needed features of a version are not what the model learned; other columns may come and go.

    The store is read where ``schema_hash``, the version's, is another one or not known. Raises :class:`NotFoundError` where one is gone.
    """
    if schema_hash == needed.schema_hash and needed.sql_hash is None:
        return ()
    store = platform.feature_sets
    learned, found = (store.contract_of(needed.feature_set, name) for name in (needed.last_version, version))
    sql_hash = store.metadata(needed.feature_set, version).sql_hash
    breaking = compare(learned, found, old_sql_hash=needed.sql_hash, new_sql_hash=sql_hash).breaking
    own = {f"column {name}" for name in (*needed.features, *learned.primary_keys)}
    return tuple(str(change) for change in breaking if change.where in own or not change.where.startswith("column "))


def require_same(platform: Platform, needed: NeededFeatures, versions: Mapping[str, str | None]) -> None:
    """Return if the needed features mean in every version (→ hash of its contract, where known) what the model learned.

    Raises:
        OtherContractError: They do not; every difference is listed.
    """
    faults = [f"{name}: {fault}" for name, known in versions.items() for fault in differences(platform, needed, name, known)]
    if faults:
        raise OtherContractError(
            f"The model learned {needed.feature_set} as {needed.last_version} has it, by contract {needed.schema_hash}. "
            "Train it on versions of the contract in service, or roll the feature set back. Found:",
            faults,
        )
