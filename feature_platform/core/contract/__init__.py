"""What a feature set and a source are declared to be: documents, types, rules for rows, the catalog.

Computing does not belong here (``core.compute``).
"""
