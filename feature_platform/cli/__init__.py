"""The ``feature-platform`` command: a thin face over the platform. Rules do not belong here, and heavy imports only inside commands."""

import sys


def main() -> None:
    """Run the command line; exit 0 when all is well, 1 on a finding, 2 on wrong usage or configuration."""
    from feature_platform.cli.app import app

    sys.exit(app(standalone_mode=True))
