"""Which contract describes what: the deployed one, or the one that a version carries as its ``schema.json``.

A deployed contract is in force for what is built; what was published goes on being described by its own. Comparing two contracts does
not belong here (``core.contract.compatibility``).
"""

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.versions.log import Version
from feature_platform.ports.platform import Platform


def contract_of(platform: Platform, contract: Contract, version: Version) -> Contract:
    """The contract that a version was built by; ``contract``, the deployed one, where it is that.

    Raises:
        NotFoundError: The version's ``schema.json`` is gone.
        ContractError: It is no contract that this release understands.
    """
    if version.schema_hash == contract.schema_hash:
        return contract
    return platform.feature_sets.contract_of(contract.feature_set, version.version)


def contract_in_service(platform: Platform, contract: Contract) -> Contract:
    """The contract that readers are served by: that of the version which is online, and the deployed one where nothing is.

    Raises:
        NotFoundError: That version's ``schema.json`` is gone.
        ContractError: It is no contract that this release understands.
    """
    marker = platform.online.marker(project=platform.project, view=contract.feature_set)
    if marker is None or marker.target.schema_hash == contract.schema_hash:
        return contract
    return platform.feature_sets.contract_of(contract.feature_set, marker.target.version)


def contracts_to_register(platform: Platform) -> list[Contract]:
    """What the registry should say of every feature set: the head's own contract, and the deployed one where nothing is latest yet.

    A contract that was deployed and by which nothing is latest so far would promise readers columns that hold nothing.
    """
    chosen = []
    for name, contract in platform.catalog.contracts.items():
        head = platform.feature_sets.history(name).head_version
        chosen.append(contract_of(platform, contract, head) if head else contract)
    return chosen
