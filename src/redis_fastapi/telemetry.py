"""Events that the cache reports to listeners while it runs.

    def count(event: Event) -> None:
        if isinstance(event, Answered):
            print(event.route, event.state)

    FastAPIRedis(app).lifespan().caching().listen(count)

A listener is called on the event loop, in the context of the request, and has to be quick. One that
raises is logged once per type of error, and does not affect the response. Without listeners,
nothing is measured.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

__all__ = ["Answered", "Event", "Evicted", "Exchanged", "Listener"]

logger = logging.getLogger("redis_fastapi")


@dataclass(frozen=True, slots=True)
class Answered:
    """A GET of a cached endpoint got its response, or the endpoint raised.

    Attributes:
        route: Method and path template, ``GET /products/{product_id}``; of a mounted application
            the path within it.
        state: ``HIT``, ``MISS``, ``STALE`` or ``BYPASS``; None where the request said no-store.
        reason: Why the cache was bypassed or the response not stored, by its name in Cache-Status;
            None if neither applies.
        body_bytes: Size of the body sent; 0 for a 304, and for a stream, reported as it begins.
        started_ns: When its lookup began, in nanoseconds since 1970.
        lookup_seconds: How long the lookup took, including waiting for another computation.
        waited: Whether it waited for another request's computation, and received that.
        local: Whether a hit came from the local tier, without asking Redis.
    """

    route: str
    state: str | None
    reason: str | None
    body_bytes: int
    started_ns: int
    lookup_seconds: float
    waited: bool = False
    local: bool = False


@dataclass(frozen=True, slots=True)
class Evicted:
    """A write has evicted.

    Attributes:
        route: Method and path template.
        names: Number of paths and groups.
        confirmed: Whether Redis acknowledged it; otherwise it is kept and sent again.
        started_ns: When it was sent, in nanoseconds since 1970.
        seconds: How long the response was delayed by it.
    """

    route: str
    names: int
    confirmed: bool
    started_ns: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Exchanged:
    """One operation on Redis has ended.

    Attributes:
        operation: ``read`` of an entry, ``acquire`` of a lease, ``fill``, ``evict``, or
            ``outdate``, which is a soft eviction.
        entry_bytes: Size of the entry that was read or stored; 0 if there was none.
        error: Name of the exception it ended with, or None.
        started_ns: When it began, in nanoseconds since 1970.
        seconds: How long it took.
    """

    operation: str
    entry_bytes: int
    error: str | None
    started_ns: int
    seconds: float


Event: TypeAlias = Answered | Evicted | Exchanged


class Listener(Protocol):
    """Receives every event."""

    def __call__(self, event: Event, /) -> None:
        """Handle an event; quickly, since a request waits."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Sends events to listeners.

    Attributes:
        listeners: The listeners.
        now_ns: Returns nanoseconds since 1970.
        timer: Returns monotonic seconds.
    """

    listeners: tuple[Listener, ...]
    now_ns: Callable[[], int] = time.time_ns
    timer: Callable[[], float] = time.perf_counter
    _failed: set[type[Exception]] = field(default_factory=set)

    def emit(self, event: Event) -> None:
        """Send an event to every listener; their errors do not affect the request."""
        for listener in self.listeners:
            try:
                listener(event)
            except Exception as error:  # the user's listener may raise anything
                self._log(error)

    def _log(self, error: Exception) -> None:
        if type(error) not in self._failed:
            self._failed.add(type(error))
            logger.warning("a listener failed: %r", error, exc_info=error)

    def plus(self, other: Telemetry | None) -> Telemetry:
        """The combination, with the listeners of both."""
        if other is None:
            return self
        return Telemetry((*self.listeners, *other.listeners), self.now_ns, self.timer)
