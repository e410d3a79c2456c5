"""Lookups, puts and evictions, and the rules that decide which entries are valid.

- An entry is valid only while the generation tokens read before its computation are current, so an
  acknowledged eviction of a generation beats every computation that began before it.
- A computation starts after the replies that showed its lease and its tokens, never before.
- A stale entry, by time or by soft eviction, is returned as stale, and only if it allows that.
- A write takes the lease by force before it runs, and evicts what it cannot store. So racing
  writes, and reads that race a write, end in a miss and never in the older value.
- Owed evictions (`evictions.py`) are sent before any entry that they may affect is used.
- Losing a lease, a token or Redis costs a computation, nothing else. No Redis error leaves here.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

from .._background import Background
from .._http import Reason
from .._redis.changes import Changes
from .._redis.compression import Compress
from .._redis.entry import Entry, decode, decode_outdated, head_size, is_current
from .._redis.keys import Target, is_path_name
from .._redis.store import Snapshot, Store
from .._redis.tokens import PASS, READER, TOKEN_SIZE, WRITER, lease_kind, validity_of
from .._redis.transport import Command
from ..exceptions import CacheUnavailableError
from .evictions import Evictions
from .forecast import Forecast
from .leases import Claimed, Ending, Lease, Leases
from .local import Kept, LocalTier
from .refusals import Operation, Refusals
from .waiting import Waiters


class Hit(NamedTuple):
    """A valid entry.

    Attributes:
        entry: The entry.
        collapsed: Whether the lookup waited for another request's computation.
        local: Whether the entry came from the local tier, without reading Redis.
        read: What it was decoded from; None if it was not read from Redis for this lookup.
    """

    entry: Entry
    collapsed: bool = False
    local: bool = False
    read: Snapshot | None = None


class Stale(NamedTuple):
    """An entry that is past its lifetime or softly evicted, but not hard evicted.

    Attributes:
        entry: The entry.
        staleness_ms: Milliseconds since its lifetime ended; 0 if it was only softly evicted.
    """

    entry: Entry
    staleness_ms: int


@dataclass(frozen=True, slots=True)
class Miss:
    """There is no valid entry: compute, then fill or release the lease.

    `stale` is an entry to fall back to if the computation fails.
    """

    lease: Lease
    stale: Stale | None = None


@dataclass(frozen=True, slots=True)
class Bypass:
    """Compute without storing; `stale` as for a miss."""

    reason: Reason
    stale: Stale | None = None


Outcome = Hit | Stale | Miss | Bypass


class KnownEntry(Protocol):
    """An entry that was found before."""

    def body_in(self, read: Snapshot, now_ms: int) -> bytes | None:
        """Its body, if it is what was read and is still fresh; otherwise None."""


@dataclass(frozen=True, slots=True)
class _Request:
    """A lookup in progress.

    Attributes:
        target: What to look up.
        refresh: Whether to ignore an existing entry.
        wait: Whether to wait for another request's computation.
        tolerated_ms: Staleness that the client accepts, in addition to what the entry allows.
    """

    target: Target
    refresh: bool
    wait: bool
    tolerated_ms: int

    def usable(self, found: Hit | Stale | None) -> Hit | Stale | None:
        """What was found, unless it is too stale to be sent before it is recomputed."""
        if not isinstance(found, Stale):
            return found
        served_ms = max(found.entry.revalidate_ms, self.tolerated_ms)
        return found if found.staleness_ms < served_ms else None


class Engine:
    """Lookups, leases and evictions over one store.

    Args:
        store: Executes the operations on Redis.
        local: The local tier; None keeps nothing in the process.
        clock: Returns seconds since 1970, for ages.
        random: Returns that many random bytes, unpredictable and never the same twice.
        sleep: Sleeps that many seconds before another read or attempt.
        lease_ms: Milliseconds until a lease expires that its holder does not renew.
        wait_max: Upper bound in seconds on waiting for another request's computation.
        compress: Compresses large bodies for Redis; None stores them as they are.
    """

    def __init__(
        self,
        store: Store,
        *,
        local: LocalTier | None = None,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        lease_ms: int = 10_000,
        wait_max: float = 5.0,
        compress: Compress | None = None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._wait_max = wait_max
        self._background = Background()
        self._refusals = Refusals()
        self._forecast = Forecast()
        self._local = LocalTier(Changes()) if local is None else local
        shared = (store, self._background, self._refusals, self._local.changes)
        self._leases = Leases(
            *shared, random=random, sleep=sleep, lease_ms=lease_ms, compress=compress
        )
        self._evictions = Evictions(*shared, random=random, sleep=sleep)
        self._waiters = Waiters(
            store,
            self._leases,
            self._local.changes,
            now_ms=self.now_ms,
            random=random,
            sleep=sleep,
        )

    def recall(self, target: Target) -> Kept | None:
        """A fresh entry from the local tier, without any I/O."""
        # An owed eviction has already dropped its entries here; they are not read until it is sent.
        return self._local.get(target)

    async def look_again(self, target: Target, known: KnownEntry, *, wait: bool) -> Outcome | bytes:
        """The body of a known entry, if Redis still has it; otherwise the outcome of ``look_up``.

        Args:
            target: What to look up.
            known: The entry that was last found there.
            wait: Whether to wait for another request's computation.
        """
        if self._evictions.owe(target) or not self._forecast.is_sure(target.shape):
            return await self.look_up(target, wait=wait)
        try:
            budget = self._store.until()
            read = await self._store.read(target, until=budget)
            body = known.body_in(read, self.now_ms())
            if body is not None:
                return body
            return await self._outcome(_Request(target, False, wait, 0), read, None, budget)
        except CacheUnavailableError as error:
            return self._unavailable(target, error)

    async def look_up(
        self,
        target: Target,
        *,
        refresh: bool = False,
        wait: bool = True,
        tolerated_ms: int = 0,
        local: bool = False,
    ) -> Outcome:
        """An entry, the lease to fill one, or the reason to bypass the cache.

        Args:
            target: What to look up.
            refresh: Ignore an existing entry, and do not wait.
            wait: Whether to wait while another request computes; otherwise compute in parallel.
            tolerated_ms: Staleness that the client accepts, in addition to what the entry allows.
            local: Whether the local tier may keep and return the entry.
        """
        if local and not refresh and (kept := self.recall(target)) is not None:
            return Hit(kept.entry, False, True)  # keyword arguments would cost half as much again
        try:
            budget = self._store.until()
            if self._evictions.owe(target):
                await self._evictions.settle(target, budget)
            marks = self._local.begin(target) if local else None
            claimed = None
            if refresh or not self._forecast.expects_none(target.shape):
                snapshot = await self._store.read(target, until=budget)
            else:
                snapshot, claimed = await self._leases.claim_absent(target, budget)
            request = _Request(target, refresh, wait and not refresh, tolerated_ms)
            found = await self._outcome(request, snapshot, claimed, budget)
            if marks is not None and isinstance(found, Hit) and not found.collapsed:
                self._local.keep(target, found.entry, marks, now_ms=self.now_ms())
            return found
        except CacheUnavailableError as error:
            return self._unavailable(target, error)

    def now_ms(self) -> int:
        """The engine's clock, in milliseconds since 1970."""
        return int(self._clock() * 1_000)

    def draw(self) -> float:
        """A random number from 0 to below 1."""
        return int.from_bytes(self._random(6), "big") / 2**48

    async def find(self, target: Target, *, local: bool = False) -> Hit | Stale | None:
        """The entry of a target, without claiming a lease; None also if Redis does not reply."""
        if local and (kept := self.recall(target)) is not None:
            return Hit(kept.entry, local=True)
        try:
            await self._evictions.settle(target, self._store.until())
            marks = self._local.begin(target) if local else None
            snapshot = await self._store.read(target)
        except CacheUnavailableError:
            return None
        found = self._entry(target, snapshot)
        if isinstance(found, Hit):
            self._local.keep(target, found.entry, marks, now_ms=self.now_ms())
        return found

    async def peek(self, target: Target, *, local: bool = False) -> Entry | None:
        """A valid entry, without claiming a lease; None also if Redis does not reply."""
        found = await self.find(target, local=local)
        return found.entry if isinstance(found, Hit) else None

    async def has(self, target: Target) -> bool:
        """Whether there is a valid entry; False also if Redis does not reply."""
        size = head_size(len(target.shape) + TOKEN_SIZE * len(target.generations))
        try:
            await self._evictions.settle(target, self._store.until())
            snapshot = await self._store.probe(target, size=size)
        except CacheUnavailableError:
            return False
        validity = validity_of(target, snapshot.tokens)
        return bool(snapshot.raw and validity and is_current(snapshot.raw, validity))

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to other commands than the cache's operations; see `Store.execute`."""
        return await self._store.execute(commands)

    async def lead(self, target: Target, known: Entry) -> Lease | None:
        """The lease to recompute a known entry; only one caller, across all processes, gets it.

        Returns:
            None if another caller holds it or has computed it meanwhile, or Redis did not reply.
        """
        try:
            budget = self._store.until()
            tokens = await self._store.tokens(target, until=budget)
            claimed = await self._leases.claim(READER, target, tokens, budget)
        except CacheUnavailableError:
            return None
        if claimed is None or not claimed.won:
            return None
        found = self._entry(target, claimed.snapshot)
        if isinstance(found, Hit) and found.entry.created_ms > known.created_ms:
            self._leases.give_back(claimed)
            return None
        return self._leases.lead(claimed)

    async def seize(self, target: Target) -> Lease | None:
        """The lease, taken by force for a write that is about to run.

        Returns:
            None if Redis did not reply or the generations kept changing: evict after the write.
        """
        try:
            budget = self._store.until()
            tokens = self._leases.known_tokens.of(target)
            if None in tokens:
                tokens = await self._store.tokens(target, until=budget)
            claimed = await self._leases.claim(WRITER, target, tokens, budget)
        except CacheUnavailableError:
            # a failed claim has to be given back, so during an outage the next one reads first
            self._leases.known_tokens.forget(target)
            return None
        return self._leases.lead(claimed) if claimed else None

    async def put(self, lease: Lease, entry: Entry, ttl_ms: int | None) -> bool:
        """Store what a write computed under its seized lease, or evict the existing entry.

        Continues if the caller is cancelled.

        Returns:
            True if the next lookup cannot see anything older than the write; False if Redis did
            not acknowledge that.
        """
        return await asyncio.shield(self._background.spawn(self._put(lease, entry, ttl_ms)))

    async def evict(
        self, entries: Iterable[str], generations: Iterable[str], *, soft: bool = False
    ) -> bool:
        """Evict entries and generations; continues if the caller is cancelled.

        Args:
            entries: Digests of entries.
            generations: Names of generations.
            soft: Whether entries become stale instead of being removed.

        Returns:
            True if Redis acknowledged. False if it did not within half a second, or is known to be
            unreachable: the eviction is kept, and sent before this engine uses an entry that it
            affects.
        """
        eviction = self._evictions.evict(tuple(entries), tuple(generations), soft=soft)
        return await asyncio.shield(self._background.spawn(eviction))

    async def aclose(self) -> None:
        """Stop background tasks and close the cache's own connections, but not the client."""
        await self._background.close()
        await self._evictions.close()
        await self._store.aclose()

    def _found(
        self, request: _Request, snapshot: Snapshot, *, collapsed: bool = False
    ) -> Hit | Stale | None:
        if request.refresh:
            return None
        return self._entry(request.target, snapshot, collapsed=collapsed)

    def _entry(
        self, target: Target, snapshot: Snapshot, *, collapsed: bool = False
    ) -> Hit | Stale | None:
        """The entry that was read, fresh or stale; None if there is none or it was evicted."""
        if snapshot.raw is None:
            return None
        validity = validity_of(target, snapshot.tokens)
        if validity is None:
            return None
        entry, now_ms = decode(snapshot.raw, validity), self.now_ms()
        if entry is not None and entry.is_fresh(now_ms):
            return Hit(entry, collapsed, False, snapshot)
        stale = entry or decode_outdated(snapshot.raw, validity)
        return None if stale is None else Stale(stale, stale.staleness_ms(now_ms))

    def _unavailable(self, target: Target, error: CacheUnavailableError) -> Bypass:
        """The outcome of a lookup to which Redis did not reply."""
        # a failed claim has to be given back, so during an outage none are made
        self._forecast.learn(target.shape, absent=False)
        self._refusals.refused(Operation.LOOK_UP, error)
        return Bypass(Reason.UNAVAILABLE)

    async def _outcome(
        self,
        request: _Request,
        snapshot: Snapshot,
        claimed: Claimed | None,
        budget: float | None,
    ) -> Outcome:
        """The outcome of a lookup that has read this."""
        self._forecast.learn(request.target.shape, absent=snapshot.raw is None)
        usable = request.usable(self._found(request, snapshot))
        return usable or await self._lead_or_follow(request, snapshot, claimed, budget)

    async def _lead_or_follow(
        self,
        request: _Request,
        snapshot: Snapshot,
        claimed: Claimed | None,
        budget: float | None,
    ) -> Outcome:
        waited, leases = False, self._leases
        patience = self._wait_max if request.wait else 0.0
        until = asyncio.get_running_loop().time() + patience
        while True:
            if claimed is None:
                claimed = await leases.claim(READER, request.target, snapshot.tokens, budget)
            if claimed is None:
                return Bypass(Reason.CONTENDED)
            found = self._found(request, claimed.snapshot, collapsed=waited)
            if usable := request.usable(found):
                leases.give_back(claimed)
                return usable
            stale = found if isinstance(found, Stale) else None
            if claimed.won:
                return Miss(leases.lead(claimed), stale)
            followed = await self._follow(request, claimed.holder, until)
            if isinstance(followed, (Miss, Bypass)):
                return replace(followed, stale=stale)
            if isinstance(followed, Hit):
                return followed
            snapshot, claimed = followed, None
            waited, budget = True, self._store.until()
            if usable := request.usable(self._found(request, snapshot, collapsed=True)):
                return usable

    async def _follow(
        self, request: _Request, holder: bytes, until: float
    ) -> Hit | Miss | Bypass | Snapshot:
        """Wait for another holder's lease: an outcome, or what was read once it had ended."""
        if lease_kind(holder) == PASS:
            return Bypass(Reason.UNSTORABLE)
        end = await self._waiters.wait(request.target, holder, until)
        if end is None:
            return self._join(request.target, holder)
        if isinstance(end, Entry):
            return Hit(end, collapsed=True)
        return Bypass(Reason.UNSTORABLE) if isinstance(end, Ending) else end

    def _join(self, target: Target, holder: bytes) -> Miss | Bypass:
        # A reader may not share a write's lease: it may have read before the write.
        if lease_kind(holder) == WRITER:
            return Bypass(Reason.WRITING)
        return Miss(self._leases.join(target, holder))

    async def _put(self, lease: Lease, entry: Entry, ttl_ms: int | None) -> bool:
        if await lease.fill(entry, ttl_ms):
            return True
        paths = [name for name in lease.target.generations if is_path_name(name)]
        return await self._evictions.evict((lease.target.entry,), tuple(paths))
