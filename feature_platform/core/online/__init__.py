"""The online form of a version: its bytes in Redis, commands, marker, loads and comparison. Connections do not belong here."""
