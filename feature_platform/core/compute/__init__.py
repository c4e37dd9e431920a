"""Contracts compiled to SQL that validates rows and aggregates features. Running SQL does not belong here."""
