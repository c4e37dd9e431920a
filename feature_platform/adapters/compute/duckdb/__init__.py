"""The compute engine port on DuckDB, embedded in this process."""
