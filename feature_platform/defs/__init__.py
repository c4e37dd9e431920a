"""Dagster: one module per concept. Business rules do not belong here; they live in ``core``."""
