"""From labels to predictions: a model of who buys tomorrow, trained, recorded, gated and asked (docs/training.md)."""
