"""How long generations are known to live, so that few fills have to ask."""

from __future__ import annotations

from collections.abc import Callable

_MOST = 4_096
"""Tokens to remember; clients determine how many there are if values name groups."""


class GenerationLifetimes:
    """Lower bounds on the expiry of generations, by token.

    Args:
        clock: Returns seconds from any origin.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends: dict[bytes, float] = {}

    def learn(self, token: bytes, life_ms: int) -> None:
        """Record that a generation expires in `life_ms` milliseconds, unless it is evicted."""
        if len(self._ends) >= _MOST and token not in self._ends:
            self._ends.clear()
        self._ends[token] = self._clock() + life_ms / 1_000

    def cover(self, token: bytes, life_ms: int) -> bool:
        """Whether a generation is known to live for `life_ms` milliseconds from now."""
        return self._clock() + life_ms / 1_000 <= self._ends.get(token, 0.0)
