"""What a changed contract means for readers: no difference, an addition, or a break.

Which contracts are compared, and which changes are refused, does not belong here (``use_cases.contracts``).
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from feature_platform.core.contract.expressions import parsed
from feature_platform.core.contract.feature_set import Column, Contract

Kind = Literal["none", "additive", "breaking"]
"""``additive`` changes nothing that readers have; ``breaking`` takes something away, or gives another value under the same name."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between two contracts: where, of which kind, and what it is."""

    where: str
    kind: Kind
    reason: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@dataclass(frozen=True, slots=True)
class ContractDiff:
    """Every difference between an older and a newer contract of one feature set."""

    changes: tuple[Change, ...]

    @property
    def kind(self) -> Kind:
        """The most severe kind of all changes."""
        kinds: set[Kind] = {change.kind for change in self.changes}
        return "breaking" if "breaking" in kinds else "additive" if "additive" in kinds else "none"

    @property
    def breaking(self) -> tuple[Change, ...]:
        """The changes that take something away from readers."""
        return tuple(change for change in self.changes if change.kind == "breaking")

    @property
    def effects(self) -> dict[str, str]:
        """Part of the platform → what happens there once a version is built by the newer contract; empty where nothing changed."""
        if not self.changes:
            return {}
        readers = {
            "none": "get the same features",
            "additive": "receive what they received before, and may ask for the new features",
            "breaking": f"notice: {'; '.join(map(str, self.breaking))}",
        }
        return {
            "versions": "existing versions stay as they are; every later version, of a rebuilt day too, is built by the newer contract",
            "latest": "moves to the first version by the newer contract that passes its checks",
            "registry": "says the older contract until then, the newer one from the online asset of that run on",
            "online": "holds the older columns until then; one load replaces them",
            "readers": readers[self.kind],
        }


def compare(old: Contract, new: Contract, *, old_sql_hash: str | None = None, new_sql_hash: str | None = None) -> ContractDiff:
    """Every difference between two contracts of one feature set.

    Args:
        old: What readers have.
        new: What they will have.
        old_sql_hash: Hash of the old SQL transform; None where there is none, or it was not recorded.
        new_sql_hash: The same for the new one. Transforms are compared where both are known.
    """
    changes = [*_of_the_set(old, new), *_of_columns(old, new)]
    if old_sql_hash and new_sql_hash and old_sql_hash != new_sql_hash:
        changes.append(Change("sql", "breaking", "the SQL transform is another one; the same names may mean something else"))
    return ContractDiff(tuple(changes))


def _of_the_set(old: Contract, new: Contract) -> Iterator[Change]:
    fixed = ("feature_set", "primary_keys", "entity", "timestamp_field", "feature_sets")
    for name in (name for name in fixed if getattr(old, name) != getattr(new, name)):
        yield Change(name, "breaking", f"{_spelled(getattr(old, name))} became {_spelled(getattr(new, name))}")
    if old.version != new.version:
        yield Change("version", "none", f"{old.version} became {new.version}: what changes is intended")
    if old.missing_days != new.missing_days:
        yield Change(
            "missing_days", "none", f"{old.missing_days} became {new.missing_days}: whether a version of a window that lacks days is built"
        )
    added = [name for name in new.source_names if name not in old.source_names]
    if set(old.source_names) - set(new.source_names):
        yield Change("source", "breaking", f"{', '.join(old.source_names)} became {', '.join(new.source_names)}")
    elif added:
        yield Change("source", "additive", f"{', '.join(added)} added: its keys become rows too")
    elif old.source_names != new.source_names:
        yield Change("sources", "none", "their order changed")
    is_declarative = any(column.aggregation for column in new.columns)
    if old.window != new.window and not is_declarative:
        yield Change("window", "breaking", f"the SQL transform reads {new.window} instead of {old.window}")
    if new.ttl_duration < old.ttl_duration:
        yield Change("ttl", "breaking", f"values are served for {new.ttl} instead of {old.ttl}")
    elif new.ttl_duration > old.ttl_duration:
        yield Change("ttl", "additive", f"values are served for {new.ttl} instead of {old.ttl}")
    if old.checks != new.checks:
        yield Change("checks", "none", "what a version must pass changed")
    if (old.owner, old.description) != (new.owner, new.description):
        yield Change("owner, description", "none", "texts for people changed")


def _of_columns(old: Contract, new: Contract) -> Iterator[Change]:
    is_said = bool(old.sources or new.sources)  # one source that became another is one change of the set
    before, after = ({column.name: column for column in (_columns(each) if is_said else each.all_columns)} for each in (old, new))
    for name, column in before.items():
        if name not in after:
            yield Change(f"column {name}", "breaking", f"removed (was {column.type})")
        else:
            yield from _of_a_column(column, after[name])
    for name in (name for name in after if name not in before):
        yield Change(f"column {name}", "additive", f"added ({after[name].type})")
    kept = [name for name in before if name in after]
    if kept != [name for name in after if name in before]:
        yield Change("columns", "none", "their order in the files changed; readers go by name")


def _columns(contract: Contract) -> Iterator[Column]:
    """The columns of a contract, with the source filled in where an aggregation does not name it."""
    for column in contract.all_columns:
        taken = column.aggregation and column.aggregation.model_copy(update={"source": column.aggregation.source or contract.source})
        yield column.model_copy(update={"aggregation": taken})


def _of_a_column(old: Column, new: Column) -> Iterator[Change]:
    where = f"column {new.name}"
    if old.type != new.type:
        yield Change(where, "breaking", f"retyped from {old.type} to {new.type}")
    if (old.aggregation, _meaning(old.expression)) != (new.aggregation, _meaning(new.expression)):
        yield Change(where, "breaking", f"redefined from {_formula(old)} to {_formula(new)}")
    if old.checks != new.checks:
        yield Change(where, "none", "its bounds changed")
    if old.description != new.description:
        yield Change(where, "none", "its description changed")


def _meaning(expression: str | None) -> str | None:
    """An expression without the author's spaces and needless parentheses."""
    return expression and ast.dump(parsed(expression))


def _formula(column: Column) -> str:
    """How a column is computed, in a few words.

    >>> _formula(Column(name="f", type="float64", expression="f_a / f_b"))
    'f_a / f_b'
    """
    aggregation = column.aggregation
    if aggregation is None:
        return column.expression or "an SQL transform"
    rules = {name: rule.model_dump(exclude_none=True) if hasattr(rule, "model_dump") else rule for name, rule in aggregation.where.items()}
    of = f" of {aggregation.source}" if aggregation.source else ""
    return f"{aggregation.function}({aggregation.column or ''}){of} over {aggregation.window}" + (f" where {rules}" if rules else "")


def _spelled(value: Any) -> str:
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)
