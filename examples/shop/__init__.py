"""A small shop whose responses are cached: start it with ``python -m shop`` or ``make demo``."""
