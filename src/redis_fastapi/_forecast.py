"""Predicts whether a route's next lookup will find an entry, from its last ones.

Each route has a two-bit saturating counter, as in branch prediction: after two lookups in a row
that found nothing it expects nothing, and a single one that finds something does not change that.
"""

from __future__ import annotations

_SURE = 3
_EXPECTED = 2

_MOST = 4_096
"""Routes to remember; an application has fewer."""


class Forecast:
    """Saturating counters by shape, which identifies a route."""

    def __init__(self) -> None:
        self._absent: dict[bytes, int] = {}

    def expects_none(self, shape: bytes) -> bool:
        """Whether the next lookup is expected to find no entry."""
        return self._absent.get(shape, 0) >= _EXPECTED

    def is_sure(self, shape: bytes) -> bool:
        """Whether an entry is expected so firmly that finding one changes nothing."""
        return not self._absent.get(shape)

    def learn(self, shape: bytes, *, absent: bool) -> None:
        """Record whether a lookup found nothing; a failed one counts as having found something."""
        known = self._absent.get(shape, 0)
        if absent and known < _SURE:
            if len(self._absent) >= _MOST:
                self._absent.clear()
            self._absent[shape] = known + 1
        elif known and not absent:
            self._absent[shape] = known - 1
