"""Interfaces through which use cases reach the world, one per module. One adapter per technology implements each.

Implementations do not belong here; neither do the protocols that decide *what* is read and written (``core.publishing``).
"""
