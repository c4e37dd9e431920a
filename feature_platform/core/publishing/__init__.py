"""How versions are committed, promoted, rolled back, projected and retained: pure protocols.

What a version *is* belongs in ``core.versions``.
"""
