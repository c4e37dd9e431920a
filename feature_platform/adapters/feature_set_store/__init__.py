"""The feature set store port over any object store, and the files it writes."""
