"""The feature set store port over any object store, and the files it writes. Decisions do not belong here (``core.publishing``)."""
