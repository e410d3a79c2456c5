"""One request through the cache."""
