"""Features computed on a cluster, through Spark Connect. What is computed does not belong here (``core.compute``)."""

import sys

# pyspark mistakes a main module without a file (`python -c`, an embedded interpreter) for its own doctest, and silently ends the process.
_MAIN = sys.modules["__main__"]
if not hasattr(_MAIN, "__file__"):
    _MAIN.__file__ = __file__
