"""The catalog: every contract and source contract of one directory, by name. Reading files does not belong here."""

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from feature_platform.core.contract.feature_set import Contract
from feature_platform.core.contract.source import SourceContract
from feature_platform.errors import UnknownNameError


@dataclass(frozen=True, slots=True)
class Catalog:
    """Every contract of one directory, by name, each checked against its source."""

    contracts: dict[str, Contract]
    sources: dict[str, SourceContract]
    templates: dict[str, str]
    """Feature set → text of its metadata template."""

    def contract(self, feature_set: str) -> Contract:
        """The contract of one feature set.

        Raises:
            UnknownNameError: No such contract; the message lists the known ones.
        """
        if feature_set not in self.contracts:
            known = ", ".join(sorted(self.contracts)) or "none"
            raise UnknownNameError(f"No contract for feature set {feature_set!r}; there are: {known}.")
        return self.contracts[feature_set]

    def source_of(self, contract: Contract) -> SourceContract:
        """The source contract that a feature set of one source, or a part, reads."""
        return self.sources[contract.source]

    def in_build_order(self) -> list[str]:
        """Every feature set, after the sets that it reads."""
        return list(TopologicalSorter({name: self.contracts[name].feature_sets for name in sorted(self.contracts)}).static_order())

    def input_faults(self) -> list[str]:
        """Faults of sets that read a set without a contract, or themselves through other sets: none of these could be built."""
        read_by = {name: contract.feature_sets for name, contract in self.contracts.items()}
        faults = [
            f"{name}.schema.json: feature_sets: {read!r} has no contract; expected {read}.schema.json beside it"
            for name, reads in read_by.items()
            for read in reads
            if read not in self.contracts
        ]
        try:
            TopologicalSorter(read_by).prepare()
        except CycleError as error:
            cycle: list[str] = error.args[1][:0:-1]  # each reads the next
            first = cycle.index(min(cycle))
            told = " reads ".join([*cycle[first:], *cycle[:first], cycle[first]])
            faults.append(f"{cycle[first]}.schema.json: feature_sets: {told}; expected no set that reads itself")
        return faults

    def sources_of(self, contract: Contract) -> list[SourceContract]:
        return [self.sources[name] for name in contract.source_names]
