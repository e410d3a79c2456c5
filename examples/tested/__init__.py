"""An application and its tests, without a Redis server."""
