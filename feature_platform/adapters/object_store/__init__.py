"""The object store port on S3 and in memory."""
