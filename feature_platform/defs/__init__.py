"""Dagster: one module per concept. Business rules do not belong here (``core``)."""
