"""Operating a platform: the state of each feature set, and incidents that people are told of. Looking and sending do not belong here."""

from typing import Final

LATE_AFTER_H: Final = 6.0
"""Hours after a day's end by which its version must be latest; it stands here so that ``--help`` shows it without heavy imports."""
