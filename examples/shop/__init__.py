"""A small shop whose answers are cached: start it with ``python -m shop`` or ``make demo``."""
