"""What the online store holds for a version: its bytes, commands, marker, loads and comparison. Connections do not belong here."""
