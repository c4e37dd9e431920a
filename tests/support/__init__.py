"""What several test folders stand on: servers, buckets and fault injection. Tests and fixtures do not belong here."""
