"""The ``feature-platform`` command: parses options, calls use cases, prints their results.

Rules do not belong here. Heavy imports stand inside the commands that need them, so that ``--help`` answers at once.
"""

import sys


def main() -> None:
    """Run the command line; exit 0 when all is well, 1 on a finding, 2 on wrong usage or configuration."""
    from feature_platform.cli.app import app

    sys.exit(app(standalone_mode=True))
