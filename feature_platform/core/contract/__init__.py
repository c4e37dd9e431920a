"""Contracts of feature sets and sources: documents, types, rules for rows, the catalog.

Computing does not belong here (``core.compute``).
"""
