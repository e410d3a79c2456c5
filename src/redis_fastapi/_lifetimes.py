"""How long generations live, as far as this process has seen."""

from __future__ import annotations

from collections.abc import Callable

_MOST = 4_096
"""Generations to remember; clients choose how many there are, where values name them."""


class GenerationLifetimes:
    """The least lives of generations, by token: one that is made anew is another one.

    Args:
        clock: Seconds since any moment.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ends: dict[bytes, float] = {}

    def learn(self, token: bytes, life_ms: int) -> None:
        """A generation lives that many milliseconds from now, unless it is evicted."""
        if len(self._ends) >= _MOST and token not in self._ends:
            self._ends.clear()
        self._ends[token] = self._clock() + life_ms / 1_000

    def cover(self, token: bytes, life_ms: int) -> bool:
        """Whether a generation is known to live that many milliseconds from now."""
        return self._clock() + life_ms / 1_000 <= self._ends.get(token, 0.0)
