"""What ``feature_store.yaml`` names by class path. Importing these imports Feast, so only Feast's own processes and steps do."""
