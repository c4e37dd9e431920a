"""The embedded S3 and Redis servers for a laptop, the demo and the tests. Nothing that runs in production belongs here."""
