"""Where labels come from and training sets are kept. How they are joined does not belong here (``adapters.compute.duckdb.label_join``)."""
