"""The owner of an asset in Dagster's form. Who owns what does not belong here (contracts)."""

from typing import Final

UNOWNED: Final = "team:unowned"
"""Shown where a contract names nobody, so that the gap is visible in the UI."""


def owners_of(owner: str) -> list[str]:
    """A contract's owner for Dagster, which knows people by address and teams by name.

    >>> owners_of("ml-platform"), owners_of("ann@example.org"), owners_of("")
    (['team:ml-platform'], ['ann@example.org'], ['team:unowned'])
    """
    return [owner if "@" in owner else f"team:{owner}"] if owner else [UNOWNED]
