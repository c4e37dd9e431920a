"""What the platform does, one verb per module, over ports alone. Dagster, the command line and technologies do not belong here.

Each of them may raise ``StorageError`` where a store or the network fails; then it can be run again.
"""
