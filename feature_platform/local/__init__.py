"""The embedded S3 and Redis servers for a laptop, the demo and the tests. Nothing in production imports this."""
