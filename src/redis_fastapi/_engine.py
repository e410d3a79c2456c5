"""Look-ups, puts and evictions: what makes the cache safe to believe.

- An entry counts only while the generation tokens read before its computation are current, so an
  acknowledged eviction of a generation beats every computation that began before it.
- A computation starts after the replies that showed its lease and its tokens, never before.
- What soft evictions or time have made stale is returned as such, and only as its entry allows.
- A write takes the lease by force before it runs. What it cannot store it evicts, so racing writes,
  and reads that race a write, end in a miss and never in the older value.
- What is owed to Redis (`_evictions.py`) is sent before anything it may concern is believed.
- Losing a lease, a token or Redis costs a computation, nothing else. No Redis error leaves here.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ._background import Background
from ._changes import Changes
from ._compression import Compress
from ._entry import Entry, decode, decode_outdated, head_size, is_current
from ._evictions import Evictions
from ._forecast import Forecast
from ._http import Reason
from ._keys import Target, is_path_name
from ._leases import Claimed, Ending, Lease, Leases
from ._local import Kept, LocalTier
from ._refusals import Operation, Refusals
from ._store import (
    PASS,
    READER,
    WRITER,
    Snapshot,
    Store,
    lease_kind,
    validity_of,
)
from ._tokens import TOKEN_SIZE
from ._transport import Command
from ._waiting import Waiters
from .exceptions import CacheUnavailableError


class Hit(NamedTuple):
    """A valid entry.

    Attributes:
        entry: The entry.
        collapsed: Whether the look-up waited for another's computation.
        local: Whether this process kept the entry; Redis was not asked for it.
    """

    entry: Entry
    collapsed: bool = False
    local: bool = False


class Stale(NamedTuple):
    """An entry that time or a soft eviction has outdated; no hard eviction has.

    Attributes:
        entry: The entry.
        staleness_ms: Milliseconds since its lifetime ended; 0 where only an eviction outdated it.
    """

    entry: Entry
    staleness_ms: int


@dataclass(frozen=True, slots=True)
class Miss:
    """Nothing valid is there: compute, then fill or release the lease.

    `stale` is what is there all the same, for the case that the computation fails.
    """

    lease: Lease
    stale: Stale | None = None


@dataclass(frozen=True, slots=True)
class Bypass:
    """Compute and store nothing; `stale` as with a miss."""

    reason: Reason
    stale: Stale | None = None


Outcome = Hit | Stale | Miss | Bypass


@dataclass(frozen=True, slots=True)
class _Request:
    """A look-up under way.

    Attributes:
        target: What is looked for.
        refresh: Whether to ignore what is there.
        until: The loop's time at which it stops waiting.
        tolerated_ms: Staleness that is good enough, whatever the entry says.
    """

    target: Target
    refresh: bool
    until: float
    tolerated_ms: int

    def answer(self, found: Hit | Stale | None) -> Hit | Stale | None:
        """What was found, unless it is so stale that something has to be computed first."""
        if not isinstance(found, Stale):
            return found
        served_ms = max(found.entry.revalidate_ms, self.tolerated_ms)
        return found if found.staleness_ms < served_ms else None


class Engine:
    """Look-ups, leases and evictions over one store.

    Args:
        store: Where everything goes.
        clock: Seconds since 1970, for ages.
        random: That many random bytes; unpredictable and never the same twice.
        sleep: Waits that many seconds before another look or another attempt.
        lease_ms: Life of a lease without its holder, in milliseconds.
        wait_max: Seconds that a look-up waits for another's computation at most.
        compress: What makes large bodies small in Redis; None leaves them as they are.
        local: What is kept in the process; None keeps nothing.
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
        tools = (store, self._background, self._refusals, self._local.changes)
        self._leases = Leases(
            *tools, random=random, sleep=sleep, lease_ms=lease_ms, compress=compress
        )
        self._evictions = Evictions(*tools, random=random, sleep=sleep)
        self._waiters = Waiters(
            *(store, self._leases, self._local.changes),
            now_ms=self.now_ms,
            random=random,
            sleep=sleep,
        )

    def recall(self, target: Target) -> Kept | None:
        """A fresh entry that this process keeps; never waits, and asks nobody."""
        # What an eviction that is owed names was dropped, and is not read before it was sent.
        return self._local.get(target)

    async def look_up(
        self,
        target: Target,
        *,
        refresh: bool = False,
        wait: bool = True,
        tolerated_ms: int = 0,
        local: bool = False,
    ) -> Outcome:
        """A valid entry, the lease to fill one, or the reason to go without.

        Args:
            target: What to look for.
            refresh: Ignore the entry that is there, and do not wait.
            wait: Whether to wait while another computes; otherwise compute beside it.
            tolerated_ms: Staleness that is good enough, whatever the entry says.
            local: Whether this process may keep the entry, and answer from what it keeps.
        """
        if local and not refresh and (kept := self.recall(target)) is not None:
            return Hit(kept.entry, False, True)  # named, its fields cost half as much again
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
            self._forecast.learn(target.shape, absent=snapshot.raw is None)
            found = None if refresh else self._entry(target, snapshot)
            if isinstance(found, Hit):
                if marks is not None:
                    self._local.keep(target, found.entry, marks, now_ms=self.now_ms())
                return found
            patience = self._wait_max if wait and not refresh else 0.0
            until = asyncio.get_running_loop().time() + patience
            request = _Request(target, refresh, until, tolerated_ms)
            answer = request.answer(found)
            return answer or await self._lead_or_follow(request, snapshot, claimed, budget)
        except CacheUnavailableError as error:
            # a claim that failed has to be given back: in an outage there are no more of them
            self._forecast.learn(target.shape, absent=False)
            self._refusals.refused(Operation.LOOK_UP, error)
            return Bypass(Reason.UNAVAILABLE)

    def now_ms(self) -> int:
        """The engine's clock, in milliseconds since 1970."""
        return int(self._clock() * 1_000)

    def draw(self) -> float:
        """A random number from 0 to below 1."""
        return int.from_bytes(self._random(6), "big") / 2**48

    async def find(self, target: Target, *, local: bool = False) -> Hit | Stale | None:
        """What is there, without any wish to fill it; None also when Redis does not answer."""
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
        """A valid entry, without any wish to fill one; None also when Redis does not answer."""
        found = await self.find(target, local=local)
        return found.entry if isinstance(found, Hit) else None

    async def has(self, target: Target) -> bool:
        """Whether a valid entry is there; False also when Redis does not answer."""
        size = head_size(len(target.shape) + TOKEN_SIZE * len(target.generations))
        try:
            await self._evictions.settle(target, self._store.until())
            snapshot = await self._store.probe(target, size=size)
        except CacheUnavailableError:
            return False
        validity = validity_of(target, snapshot.tokens)
        return bool(snapshot.raw and validity and is_current(snapshot.raw, validity))

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Replies to commands that are no operation of the cache, see `Store.ask`."""
        return await self._store.ask(commands)

    async def lead(self, target: Target, known: Entry) -> Lease | None:
        """The lease to compute anew what is known already; one caller gets it, of all processes.

        Returns:
            None when another holds it or has computed it meanwhile, or Redis did not answer.
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
        """The lease, whoever held it, for a write that is about to run.

        Returns:
            None when Redis did not answer or the generations kept changing: evict after the write.
        """
        try:
            budget = self._store.until()
            tokens = self._leases.known_tokens.of(target)
            if None in tokens:
                tokens = await self._store.tokens(target, until=budget)
            claimed = await self._leases.claim(WRITER, target, tokens, budget)
        except CacheUnavailableError:
            # a claim that failed has to be given back: in an outage the next one asks before
            self._leases.known_tokens.forget(target)
            return None
        return self._leases.lead(claimed) if claimed else None

    async def put(self, lease: Lease, entry: Entry, ttl_ms: int | None) -> bool:
        """Store what a write computed under its seized lease, or evict what is there.

        Goes on when the caller is cancelled.

        Returns:
            True when the next look-up cannot see anything older than the write; False when Redis
            did not acknowledge that.
        """
        return await asyncio.shield(self._background.spawn(self._put(lease, entry, ttl_ms)))

    async def evict(
        self, entries: Iterable[str], generations: Iterable[str], *, soft: bool = False
    ) -> bool:
        """Remove entries and generations; goes on when the caller is cancelled.

        Args:
            entries: Digests of entries.
            generations: Names of generations.
            soft: Whether what is there stays as stale, for those who may be served that.

        Returns:
            True when Redis acknowledged. False when it did not within half a second, or is known to
            be away: the eviction is kept, and sent before this engine believes an entry that it
            concerns.
        """
        eviction = self._evictions.evict(tuple(entries), tuple(generations), soft=soft)
        return await asyncio.shield(self._background.spawn(eviction))

    async def aclose(self) -> None:
        """End what runs in the background and close what is the cache's own, not the client."""
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
        """What is there of the target, current or not, unless it was evicted."""
        validity = validity_of(target, snapshot.tokens)
        if snapshot.raw is None or validity is None:
            return None
        entry, now_ms = decode(snapshot.raw, validity), self.now_ms()
        if entry is not None and entry.is_fresh(now_ms):
            return Hit(entry, collapsed)
        stale = entry or decode_outdated(snapshot.raw, validity)
        return None if stale is None else Stale(stale, stale.staleness_ms(now_ms))

    async def _lead_or_follow(
        self,
        request: _Request,
        snapshot: Snapshot,
        claimed: Claimed | None,
        budget: float | None,
    ) -> Outcome:
        waited, leases = False, self._leases
        while True:
            if claimed is None:
                claimed = await leases.claim(READER, request.target, snapshot.tokens, budget)
            if claimed is None:
                return Bypass(Reason.CONTENDED)
            found = self._found(request, claimed.snapshot, collapsed=waited)
            if answer := request.answer(found):
                leases.give_back(claimed)
                return answer
            stale = found if isinstance(found, Stale) else None
            if claimed.won:
                return Miss(leases.lead(claimed), stale)
            followed = await self._follow(request, claimed.holder)
            if isinstance(followed, (Miss, Bypass)):
                return replace(followed, stale=stale)
            if isinstance(followed, Hit):
                return followed
            snapshot, claimed = followed, None
            waited, budget = True, self._store.until()
            if answer := request.answer(self._found(request, snapshot, collapsed=True)):
                return answer

    async def _follow(self, request: _Request, holder: bytes) -> Hit | Miss | Bypass | Snapshot:
        """What came of another's lease: an outcome, or what was read once it was gone."""
        if lease_kind(holder) == PASS:
            return Bypass(Reason.UNSTORABLE)
        end = await self._waiters.wait(request.target, holder, request.until)
        if end is None:
            return self._join(request.target, holder)
        if isinstance(end, Entry):
            return Hit(end, collapsed=True)
        return Bypass(Reason.UNSTORABLE) if isinstance(end, Ending) else end

    def _join(self, target: Target, holder: bytes) -> Miss | Bypass:
        # A writer's lease says nothing about reads that began after it: they may be older.
        if lease_kind(holder) == WRITER:
            return Bypass(Reason.WRITING)
        return Miss(self._leases.join(target, holder))

    async def _put(self, lease: Lease, entry: Entry, ttl_ms: int | None) -> bool:
        if await lease.fill(entry, ttl_ms):
            return True
        paths = [name for name in lease.target.generations if is_path_name(name)]
        return await self._evictions.evict((lease.target.entry,), tuple(paths))
