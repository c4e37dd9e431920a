"""Pure domain logic: values in, values out. No Dagster, Feast, Redis, S3 client, clock, environment or randomness belongs here."""
