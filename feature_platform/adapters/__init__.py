"""One module per technology behind each port. Decisions do not belong here; they are made in ``core``."""
