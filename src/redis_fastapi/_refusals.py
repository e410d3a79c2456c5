"""What a Redis that is there refuses to do: said once when that begins, and once when it ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from enum import Enum

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

_log = logging.getLogger("redis_fastapi")

_PASSING = (AskError, ClusterDownError, MasterDownError, ReadOnlyError, TryAgainError)
"""Refusals of a cluster or a failover under way; an outage, if it is one, is said elsewhere."""

_QUIET_SECONDS = 10.0
"""Time without a refusal until it is over: a server short of memory takes one entry in between."""


class Wish(str, Enum):
    """What Redis is asked for."""

    LOOK_UP = "look-ups"
    FILL = "entries"
    EVICTION = "evictions"


class Refusals:
    """The wishes of one engine that Redis refuses.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latest: dict[Wish, float] = {}

    def refused(self, wish: Wish, error: Exception) -> None:
        """Hear that a wish failed; a refusal is the cause of its error, an outage has another."""
        refusal = error.__cause__
        if not isinstance(refusal, ResponseError) or isinstance(refusal, _PASSING):
            return
        if wish not in self._latest:
            _log.warning("Redis refuses %s: %s", wish.value, refusal)
        self._latest[wish] = self._clock()

    def granted(self, wish: Wish) -> None:
        """Hear that Redis did as it was asked."""
        latest = self._latest.get(wish)
        if latest is not None and self._clock() - latest >= _QUIET_SECONDS:
            del self._latest[wish]
            _log.warning("Redis takes %s again", wish.value)
