"""Feast's objects, registry and SDK. Feast is imported inside functions, because that takes seconds; its plugins do not belong here."""
