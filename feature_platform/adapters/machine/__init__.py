"""The machine that a process runs on: disk, memory, child processes. Stores and engines do not belong here."""
