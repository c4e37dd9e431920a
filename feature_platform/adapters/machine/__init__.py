"""This machine: its disk, its memory, processes of its own. Stores and engines do not belong here."""
