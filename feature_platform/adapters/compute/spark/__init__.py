"""Features computed on a cluster, through Spark Connect. What is computed is ``core.compute``."""
