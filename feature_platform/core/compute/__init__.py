"""A contract compiled to SQL: what is judged, aggregated and returned. Running SQL does not belong here."""
