"""The online store port on Redis and in memory."""
