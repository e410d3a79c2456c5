"""Known expiry times of generations, so that few fills have to read them from Redis."""

from __future__ import annotations

from collections.abc import Callable

_MOST = 4_096
"""Capacity in tokens; if request values name groups, clients determine how many there are."""


class GenerationLifetimes:
    """Lower bounds of the expiry of generations, by token.

    Args:
        clock: Returns the time in seconds, from any origin.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends: dict[bytes, float] = {}

    def learn(self, token: bytes, life_ms: int) -> None:
        """Record that a generation expires no earlier than in `life_ms` ms, unless evicted."""
        if len(self._ends) >= _MOST and token not in self._ends:
            self._ends.clear()
        self._ends[token] = self._clock() + life_ms / 1_000

    def cover(self, token: bytes, life_ms: int) -> bool:
        """Whether a generation is known not to expire within `life_ms` milliseconds from now."""
        return self._clock() + life_ms / 1_000 <= self._ends.get(token, 0.0)
