"""The object store port on S3 and in memory. What is stored does not belong here."""
