"""Which contract applies: the deployed one, or the one that a version carries as its ``schema.json``.

Builds follow the deployed contract; a published version keeps the contract that it was built by. Classifying changes does not belong here
(``core.contract.compatibility``).
"""

from feature_platform.core.contract.compatibility import Change, ContractDiff, compare
from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.versions.log import Version
from feature_platform.errors import ContractError
from feature_platform.ports.platform import Platform


def contract_of(platform: Platform, contract: Contract, version: Version) -> Contract:
    """The contract that a version was built by; ``contract``, the deployed one, where both have the same hash.

    Raises:
        NotFoundError: The version's ``schema.json`` is gone.
        ContractError: It is no contract that this release understands.
    """
    if version.schema_hash == contract.schema_hash:
        return contract
    return platform.feature_sets.contract_of(contract.feature_set, version.version)


def contract_in_service(platform: Platform, contract: Contract) -> Contract:
    """The contract that readers are served by: that of the version that is online, or the deployed one where no version is online.

    Raises:
        NotFoundError: That version's ``schema.json`` is gone.
        ContractError: It is no contract that this release understands.
    """
    marker = platform.online.marker(project=platform.project, view=contract.feature_set)
    if marker is None or marker.target.schema_hash == contract.schema_hash:
        return contract
    return platform.feature_sets.contract_of(contract.feature_set, marker.target.version)


def contracts_to_register(platform: Platform) -> list[Contract]:
    """The contract to register for every feature set: the head's own, or the deployed one where there is no head yet.

    A deployed contract that the head was not built by would promise readers columns without values.
    """
    chosen = []
    for name, contract in platform.catalog.contracts.items():
        head = platform.feature_sets.history(name).head_version
        chosen.append(contract_of(platform, contract, head) if head else contract)
    return chosen


def changes_since(platform: Platform, contract: Contract) -> ContractDiff:
    """How a contract and its source contracts differ from those that latest was built by; no change where there is no latest yet.

    Of a source contract only the hash was recorded, so a change of it is reported and not classified.

    Raises:
        NotFoundError, ContractError: As :func:`contract_of`.
    """
    found, name = _compared(platform, contract)[1], contract.feature_set
    head = platform.feature_sets.history(name).head_version
    described = platform.feature_sets.metadata(name, head.version) if head else None
    differing = [
        Change(
            "source", "none", f"contract of source {one.source!r} is another one; what its rows are may have changed under every feature"
        )
        for one in platform.catalog.sources_of(contract)
        if described and described.source_hash_of(one.source) not in (None, one.schema_hash)
    ]
    return ContractDiff((*found.changes, *differing))


def require_announced(platform: Platform, contract: Contract) -> None:
    """Refuse to build by a contract that breaks readers without a new ``version``.

    Raises:
        ContractError: The contract breaks the one that latest was built by, and has the same ``version``.
    """
    published, difference = _compared(platform, contract)
    if published is not None and difference.breaking and published.version == contract.version:
        raise ContractError(
            f"{contract.feature_set} is published as contract version {published.version!r}, which this one breaks; give it another "
            "`version`, or take the change back. `feature-platform contract diff` shows what it would do. Breaking:",
            [str(change) for change in difference.breaking],
        )


def _compared(platform: Platform, contract: Contract) -> tuple[Contract | None, ContractDiff]:
    """The contract of the head, and how the given one differs from it; a contract with the same hash is not fetched."""
    name = contract.feature_set
    head = platform.feature_sets.history(name).head_version
    if head is None or (head.schema_hash == contract.schema_hash and contract.sql is None):
        return None, ContractDiff(())
    published = contract_of(platform, contract, head)
    sql_hash = platform.feature_sets.metadata(name, head.version).sql_hash if contract.sql is not None else None
    return published, compare(published, contract, old_sql_hash=sql_hash, new_sql_hash=contract.sql_hash)
