"""Operating a platform: what state each feature set is in, and which incidents people hear of. Looking and sending do not belong here."""

from typing import Final

LATE_AFTER_H: Final = 6.0
"""Hours after a day's end by which its version must be latest; here, because a command shows it before anything heavy is imported."""
