"""Compute engines, one package each."""
