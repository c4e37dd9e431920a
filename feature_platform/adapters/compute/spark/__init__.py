"""Features computed on a cluster, through Spark Connect. What is computed is ``core.compute``."""

import sys

# pyspark takes a main module without a file (`python -c`, an embedded interpreter) for a doctest of its own, and silently ends the process.
_MAIN = sys.modules["__main__"]
if not hasattr(_MAIN, "__file__"):
    _MAIN.__file__ = __file__
