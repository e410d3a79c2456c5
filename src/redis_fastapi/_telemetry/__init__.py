"""Who listens to the cache's events."""
