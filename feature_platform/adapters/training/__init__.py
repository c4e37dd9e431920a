"""Reads labels and keeps training sets. Joining them does not belong here (``adapters.compute.duckdb.label_join``)."""
