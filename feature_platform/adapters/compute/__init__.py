"""Compute engines, one package each. What they compute does not belong here (``core.compute``)."""
