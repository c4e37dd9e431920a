"""The compute engine port on DuckDB, embedded in this process. The SQL does not belong here (``core.compute``)."""
