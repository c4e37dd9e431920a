"""The error tree, grouped by what a handler does about an error.

    FeaturePlatformError
    ├── ConfigurationError       the operator fixes a setting; never retried
    ├── ContractError            a contract is wrong; its author fixes it; never retried
    ├── InvalidDataError         the data is wrong; never retried
    ├── NotFoundError            the named thing does not exist
    │   └── UnknownNameError     the name itself was wrong: whoever gave it gives another
    ├── ConflictError            another writer was first; read again, then retry
    └── StorageError             a store or the network failed; retry with backoff
        ├── FullDiskError        this machine's own disk is full; no store was asked
        └── UnknownOutcomeError  a write that may or may not have happened

A message says what, which one, expected, found and what to do, in one or two sentences, and never a secret. All faults of one input
are collected and reported together. Error *handling* does not belong here: one wrapper in ``defs`` maps this tree to Dagster's retries.
"""

from collections.abc import Sequence
from typing import ClassVar


class FeaturePlatformError(Exception):
    """Anything this project raises on purpose; ``except FeaturePlatformError`` is the outermost boundary."""

    kind: ClassVar[str] = "error"
    """Names the class for programs: stable, in metadata and JSON, where class names may change."""


class _FaultsError(FeaturePlatformError):
    """An error that carries every fault found in one input.

    Args:
        subject: What was examined, e.g. a file name.
        faults: One sentence per fault, in the order of the input.
    """

    def __init__(self, subject: str, faults: Sequence[str] = ()) -> None:
        self.subject = subject
        self.faults = tuple(faults)
        lines = [subject, *(f"  - {fault}" for fault in self.faults)]
        super().__init__("\n".join(lines))


class ConfigurationError(_FaultsError):
    """A setting is missing or wrong; the operator fixes it. Never retried."""

    kind: ClassVar[str] = "configuration"


class ContractError(_FaultsError):
    """A contract or its template is wrong; its author fixes it. Never retried."""

    kind: ClassVar[str] = "contract"


class InvalidDataError(_FaultsError):
    """The data is wrong and cannot be used. Never retried."""

    kind: ClassVar[str] = "invalid_data"


class NotFoundError(FeaturePlatformError):
    """The named object, version or entity does not exist."""

    kind: ClassVar[str] = "not_found"


class UnknownNameError(NotFoundError):
    """A name that somebody gave (a feature set, a version, a pin) does not exist; the message lists those that do."""

    kind: ClassVar[str] = "unknown_name"


class ConflictError(FeaturePlatformError):
    """A precondition failed: another writer was first. Read again, decide again."""

    kind: ClassVar[str] = "conflict"


class StorageError(FeaturePlatformError):
    """A store did not do what was asked, after the client's own retries. Retry later with backoff."""

    kind: ClassVar[str] = "storage"


class FullDiskError(StorageError):
    """This machine's own disk is full. No store was asked, so nothing about a write is unknown."""

    kind: ClassVar[str] = "full_disk"


class UnknownOutcomeError(StorageError):
    """A write was sent, its answer was lost, and the object could not be read back: it may or may not have happened."""

    kind: ClassVar[str] = "unknown_outcome"
