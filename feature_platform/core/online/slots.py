"""Which Redis Cluster slot a key belongs to. Keys in bulk do not belong here (``core.online.keys``)."""

from binascii import crc_hqx
from typing import Final

SLOTS: Final = 16_384
"""Hash slots of a Redis Cluster."""


def key_slot(key: bytes) -> int:
    """The cluster slot of one key: CRC16 (XMODEM, which is what ``crc_hqx`` computes) of its hash tag, or of the whole key without one.

    >>> key_slot(b"123456789"), key_slot(b"{user1000}.following") == key_slot(b"user1000")
    (12739, True)
    """
    return crc_hqx(hash_tag(key), 0) & SLOTS - 1


def hash_tag(key: bytes) -> bytes:
    """The part of a key that is hashed: what lies between its first ``{`` and the next ``}``, or the whole key where that is nothing.

    Source: Redis Cluster specification, "Hash tags". Binary keys may hold braces by accident, and Redis honours them.
    """
    start = key.find(b"{")
    end = key.find(b"}", start + 1)
    return key[start + 1 : end] if start >= 0 and end > start + 1 else key
