"""The classes that ``feature_store.yaml`` names. Importing them imports Feast, so code that runs without Feast does not belong here."""
