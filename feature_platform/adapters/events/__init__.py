"""Raw objects read and validated files written."""
