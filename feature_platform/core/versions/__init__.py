"""Versions: their log records, metadata, hashes, statistics, checks and proof. How versions are published does not belong here."""
