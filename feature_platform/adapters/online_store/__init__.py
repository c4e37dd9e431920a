"""The online store port on Redis and in memory. Bytes and decisions do not belong here (``core.online``)."""
