"""Whether the next look-up of a route will find an entry: as the last ones did.

A saturating counter of two bits for each route: two look-ups in a row that found nothing make it
expect nothing, and one that found something may be an exception.
"""

from __future__ import annotations

_SURE = 3
_EXPECTED = 2

_MOST = 4_096
"""Routes to remember; an application has fewer."""


class Forecast:
    """Counters by what tells one route's targets from another's."""

    def __init__(self) -> None:
        self._absent: dict[bytes, int] = {}

    def expects_none(self, shape: bytes) -> bool:
        """Whether there will be no entry."""
        return self._absent.get(shape, 0) >= _EXPECTED

    def is_sure(self, shape: bytes) -> bool:
        """Whether an entry is expected so firmly that finding one changes nothing."""
        return not self._absent.get(shape)

    def learn(self, shape: bytes, *, absent: bool) -> None:
        """Hear whether a look-up found nothing; one that failed has not."""
        known = self._absent.get(shape, 0)
        if absent and known < _SURE:
            if len(self._absent) >= _MOST:
                self._absent.clear()
            self._absent[shape] = known + 1
        elif known and not absent:
            self._absent[shape] = known - 1
