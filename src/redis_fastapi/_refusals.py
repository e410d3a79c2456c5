"""What a Redis that is there refuses to do, said once for each kind."""

from __future__ import annotations

import logging

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


class Refusals:
    """The kinds of refusal that one engine has met."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()

    def note(self, error: Exception) -> None:
        """Log that Redis refused, where that is the cause of `error` and the first of its kind."""
        refusal = error.__cause__
        if not isinstance(refusal, ResponseError) or isinstance(refusal, _PASSING):
            return
        kind = type(refusal).__name__
        if kind not in self._kinds:
            self._kinds.add(kind)
            _log.warning("nothing is stored where Redis refuses: %s", refusal)
