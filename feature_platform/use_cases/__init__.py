"""What the platform does, one verb per module, over ports alone. Dagster, the command line and technologies do not belong here."""
