"""Reads raw objects and writes validated files. Judging rows does not belong here (``core.compute.validation_sql``)."""
