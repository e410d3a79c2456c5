"""The local tier: decoded entries in the process, valid while nothing has changed them.

- Each entry was read under marks taken before the request was sent, and is valid while they are
  alive (`_redis/changes.py`): neither it nor any of its generations has changed since.
- It is kept while it is fresh, and never longer than the tier's limit, by a monotonic clock. A hit
  costs a dict lookup and a few comparisons; nothing is parsed.
- The size is bounded by estimated bytes; the least recently used entry goes first.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from .._redis.changes import Changes, Marks, intact
from .._redis.entry import Entry
from .._redis.keys import Target

_ENTRY_BYTES = 1_100
_HEADER_BYTES = 160
_GENERATION_BYTES = 320
"""CPython's overhead for the objects around the bytes; `python -m race.local` measures it."""


class Kept:
    """An entry of the tier.

    Attributes:
        entry: The entry.
        target: What it was read for.
    """

    __slots__ = ("cost", "entry", "marks", "target", "until")

    def __init__(
        self, target: Target, entry: Entry, marks: Marks, *, until: float, cost: int
    ) -> None:
        self.target = target
        self.entry = entry
        self.marks = marks
        self.until = until
        self.cost = cost


class LocalTier:
    """Entries by target, the least recently used first.

    Args:
        changes: Reports what has changed since it was read.
        max_bytes: Upper bound on the estimated bytes of all entries.
        max_ttl: Upper bound in seconds on keeping an entry.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        changes: Changes,
        *,
        max_bytes: int = 0,
        max_ttl: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.changes = changes
        self._max_bytes = max_bytes
        self._max_ttl = max_ttl
        self._clock = clock
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._cost = 0
        changes.on_change(self._drop_changed)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def cost(self) -> int:
        """Estimated bytes of all entries."""
        return self._cost

    def get(self, target: Target) -> Kept | None:
        """The valid entry of a target, without any I/O."""
        kept = self._kept.get(target.entry)
        if kept is None or (kept.target is not target and kept.target != target):
            return None
        if self._clock() >= kept.until or not intact(kept.marks):
            self._drop(target.entry)
            return None
        self._kept.move_to_end(target.entry)
        return kept

    def begin(self, target: Target) -> Marks | None:
        """Take marks before a target is read; None while nothing may be kept."""
        return self.changes.marks(target.names) if self._max_bytes else None

    def keep(self, target: Target, entry: Entry, marks: Marks | None, *, now_ms: int) -> None:
        """Keep an entry that was read after `begin`, unless it has changed since.

        Args:
            target: What was read.
            entry: The entry.
            marks: From `begin`.
            now_ms: Milliseconds since 1970, for the remaining freshness.
        """
        if marks is None or not intact(marks):
            return
        seconds = self._seconds_left(entry, now_ms)
        cost = _cost(target, entry)
        if seconds <= 0 or cost > self._max_bytes:
            return
        self._drop(target.entry)
        until = self._clock() + seconds
        self._kept[target.entry] = Kept(target, entry, marks, until=until, cost=cost)
        self._cost += cost
        while self._cost > self._max_bytes:
            self._cost -= self._kept.popitem(last=False)[1].cost

    def _seconds_left(self, entry: Entry, now_ms: int) -> float:
        if not entry.fresh_ms:
            return self._max_ttl
        left_ms = entry.created_ms + entry.fresh_ms - now_ms
        return min(self._max_ttl, left_ms / 1_000)

    def _drop(self, name: str) -> None:
        kept = self._kept.pop(name, None)
        if kept is not None:
            self._cost -= kept.cost

    def _drop_changed(self, name: str | None) -> None:
        # Entries of a changed generation are dropped as they are found: there may be a million.
        if name is not None:
            self._drop(name)
            return
        self._kept.clear()
        self._cost = 0


def _cost(target: Target, entry: Entry) -> int:
    """Estimated bytes of an entry with its objects, rather too high than too low."""
    headers = sum(len(name) + len(value) for name, value in entry.headers)
    return (
        _ENTRY_BYTES
        + len(entry.body)
        + 2 * headers
        + _HEADER_BYTES * len(entry.headers)
        + _GENERATION_BYTES * len(target.generations)
    )
