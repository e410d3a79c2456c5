"""Operations that a reachable Redis refuses: logged once when that begins, once when it ends."""

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

logger = logging.getLogger("redis_fastapi")

_TRANSIENT = (AskError, ClusterDownError, MasterDownError, ReadOnlyError, TryAgainError)
"""Errors of a cluster or failover in transition; the breaker logs it if it becomes an outage."""

_QUIET_SECONDS = 10.0
"""Time without a refusal that ends it; a server short of memory accepts an entry now and then."""


class Operation(str, Enum):
    """What is sent to Redis."""

    LOOK_UP = "lookups"
    FILL = "entries"
    EVICTION = "evictions"


class Refusals:
    """The operations that Redis currently refuses to one engine.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._latest: dict[Operation, float] = {}

    def refused(self, operation: Operation, error: Exception) -> None:
        """Report that an operation failed; an error without a refusal as its cause is an outage."""
        refusal = error.__cause__
        if not isinstance(refusal, ResponseError) or isinstance(refusal, _TRANSIENT):
            return
        if operation not in self._latest:
            logger.warning("Redis refuses %s: %s", operation.value, refusal)
        self._latest[operation] = self._clock()

    def granted(self, operation: Operation) -> None:
        """Report that an operation succeeded."""
        latest = self._latest.get(operation)
        if latest is not None and self._clock() - latest >= _QUIET_SECONDS:
            del self._latest[operation]
            logger.warning("Redis takes %s again", operation.value)
