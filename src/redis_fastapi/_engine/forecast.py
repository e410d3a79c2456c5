"""Predicts whether a route's next lookup will find an entry, from its previous ones.

Each route has a two-bit saturating counter, as in branch prediction: after two consecutive lookups
without an entry it predicts none, and once saturated, a single lookup that finds one does not
change that.
"""

from __future__ import annotations

_SURE = 3
_EXPECTED = 2

_MOST = 4_096
"""Capacity in routes; an application has fewer."""


class Forecast:
    """Saturating counters, by the shape that identifies a route."""

    def __init__(self) -> None:
        self._absent: dict[bytes, int] = {}

    def expects_none(self, shape: bytes) -> bool:
        """Whether the next lookup is expected to find no entry."""
        return self._absent.get(shape, 0) >= _EXPECTED

    def is_sure(self, shape: bytes) -> bool:
        """Whether the counter is at its lower limit, so that finding an entry changes nothing."""
        return not self._absent.get(shape)

    def learn(self, shape: bytes, *, absent: bool) -> None:
        """Record whether a lookup found no entry; a failed lookup counts as having found one."""
        known = self._absent.get(shape, 0)
        if absent and known < _SURE:
            if len(self._absent) >= _MOST:
                self._absent.clear()
            self._absent[shape] = known + 1
        elif known and not absent:
            self._absent[shape] = known - 1
