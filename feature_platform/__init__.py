"""A feature platform: raw events on S3 to versioned feature sets, served online exactly as published."""
