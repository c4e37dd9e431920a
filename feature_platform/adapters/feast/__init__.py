"""Feast's objects, registry and SDK. Feast is imported inside functions: it takes seconds."""
