"""Waiting for another request's computation.

Lookups in the lease holder's own process are woken when its lease ends. Those in other processes
are woken when the entry or a generation changes, if changes are tracked. Since a lease may end
without such a change, and tracking is optional, they also poll Redis. Everything is bounded: the
time of one lookup by its caller, the number of lookups here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from .._redis.changes import Changes
from .._redis.entry import Entry, decode
from .._redis.keys import Target
from .._redis.store import Snapshot, Store
from .._redis.tokens import lease_validity, validity_of
from .leases import Ending, Flight, Leases

_MOST_WAITING = 10_000
"""Upper bound on waiting lookups; any more compute in parallel."""

_SHORTEST_POLL_SECONDS = 0.005
_LONGEST_POLL_SECONDS = 0.05


class Waiters:
    """The waiting lookups of one engine.

    Args:
        most: How many may wait at once.
    """

    def __init__(
        self,
        store: Store,
        leases: Leases,
        changes: Changes,
        *,
        now_ms: Callable[[], int],
        random: Callable[[int], bytes],
        sleep: Callable[[float], Awaitable[None]],
        most: int = _MOST_WAITING,
    ) -> None:
        self._store = store
        self._leases = leases
        self._now_ms = now_ms
        self._changes = changes
        self._random = random
        self._sleep = sleep
        self._most = most
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    async def wait(
        self, target: Target, holder: bytes, until: float
    ) -> Entry | Ending | Snapshot | None:
        """The outcome of the lease with value `holder`.

        Args:
            target: What is waited for.
            holder: Value of the lease.
            until: When to stop waiting, in the event loop's time.

        Returns:
            The outcome of its computation, if that ran in this process; what was read once the
            lease was gone; or None if it still holds, or too many lookups are waiting.
        """
        if self._waiting >= self._most:
            return None
        self._waiting += 1
        try:
            return await self._wait(target, holder, until)
        finally:
            self._waiting -= 1

    async def _wait(
        self, target: Target, holder: bytes, until: float
    ) -> Entry | Ending | Snapshot | None:
        now = asyncio.get_running_loop().time
        started = now()
        while (left := until - now()) > 0:
            flight = self._leases.flights.get(holder)
            if flight is not None:
                return await self._await_flight(target, flight, left)
            if self._changes.is_tracking:
                snapshot = await self._look_then_wait(target, holder, left)
            else:
                await self._sleep(min(left, self._pause(now() - started)))
                snapshot = await self._store.read(target, lease=True)
            if self._is_over(target, snapshot, holder):
                return snapshot
        return None

    async def _look_then_wait(self, target: Target, holder: bytes, seconds: float) -> Snapshot:
        """Read, and if there is nothing new wait for a change or the polling interval."""
        # Before the read, so that any later change is noticed.
        change = self._changes.next_change(target.names)
        try:
            snapshot = await self._store.read(target, lease=True)
            if not self._is_over(target, snapshot, holder):
                await asyncio.wait((change,), timeout=min(seconds, _LONGEST_POLL_SECONDS))
        finally:
            change.cancel()
        return snapshot

    async def _await_flight(
        self, target: Target, flight: Flight, seconds: float
    ) -> Entry | Ending | Snapshot:
        # The claim's reply showed the leader's lease, with tokens that this lookup read itself: an
        # eviction acknowledged earlier is older than both, and so than the leader's computation.
        await asyncio.wait((flight,), timeout=seconds)
        end = flight.result() if flight.done() else Ending.FAILED
        return await self._store.read(target) if end is Ending.FAILED else end

    def _is_over(self, target: Target, snapshot: Snapshot, holder: bytes) -> bool:
        return _moved_on(target, snapshot, holder) or self._computed(snapshot, holder)

    def _computed(self, snapshot: Snapshot, holder: bytes) -> bool:
        entry = decode(snapshot.raw, lease_validity(holder)) if snapshot.raw else None
        return entry is not None and entry.is_fresh(self._now_ms())

    def _pause(self, waited: float) -> float:
        pause = min(_LONGEST_POLL_SECONDS, max(_SHORTEST_POLL_SECONDS, waited / 4))
        return pause * (0.75 + self._random(1)[0] / 510)


def _moved_on(target: Target, snapshot: Snapshot, holder: bytes) -> bool:
    """Whether this holder is gone, or its result will not be valid."""
    validity = validity_of(target, snapshot.tokens)
    return snapshot.lease != holder or validity != lease_validity(holder)
