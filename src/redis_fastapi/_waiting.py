"""Waiting for what another computes.

Those who wait in the holder's own process are woken by the end of its lease, those in other
processes by the change of the entry or of a generation, where changes are heard. Since not all that
ends a lease is a change, and not everyone hears, they look at Redis again in any case. All of it is
bounded: the time of one look-up by its caller, the number of look-ups here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ._changes import Changes
from ._entry import Entry, decode
from ._keys import Target
from ._leases import Ending, Flight, Leases
from ._store import Snapshot, Store, lease_validity, validity_of

_MOST_WAITING = 10_000
"""Look-ups that wait for others' computations, beyond which they compute beside them."""

_SHORTEST_POLL_SECONDS = 0.005
_LONGEST_POLL_SECONDS = 0.05


class Waiters:
    """The look-ups of one engine that wait.

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
        """What came of the lease `holder` of the target.

        Args:
            target: What is waited for.
            holder: Value of the lease.
            until: The event loop's time at which the patience ends.

        Returns:
            What its computation ended in, where that is known here; what was read once the lease
            was gone; or None when it still holds after all, or too many wait already.
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
            if self._changes.heard:
                snapshot = await self._look_then_wait(target, holder, left)
            else:
                await self._sleep(min(left, self._pause(now() - started)))
                snapshot = await self._store.read(target, lease=True)
            if self._is_over(target, snapshot, holder):
                return snapshot
        return None

    async def _look_then_wait(self, target: Target, holder: bytes, seconds: float) -> Snapshot:
        """What is read, after a while or a change where that is nothing new."""
        # Before the read: what changes after it is heard.
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
        # The claim's reply showed the leader's lease, of tokens that this look-up read itself: an
        # eviction acknowledged before is older than both, and so than the leader's computation.
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
    """Whether this holder is gone, or what it computes will not be current."""
    validity = validity_of(target, snapshot.tokens)
    return snapshot.lease != holder or validity != lease_validity(holder)
