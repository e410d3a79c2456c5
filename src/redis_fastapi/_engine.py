"""Look-up, lease, fill and eviction: what makes the cache safe to believe.

- An entry counts only while the generation tokens read before its computation are current, so an
  acknowledged eviction of a generation beats every computation that began before it.
- A fill is stored only while the lease read before its computation holds. An eviction ends the
  lease first, so an acknowledged eviction of an entry beats all that began to compute before it.
- A computation starts after the replies that showed its lease and its tokens, never before.
- A write takes the lease by force before it runs. What it cannot store it evicts, so racing writes,
  and reads that race a write, end in a miss and never in the older value.
- An eviction that Redis did not acknowledge is sent before anything it may concern is believed.
- Losing a lease, a token or Redis costs a computation, nothing else. No Redis error leaves here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from itertools import chain, repeat
from typing import Any, TypeVar

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)

from redis_fastapi._backlog import Backlog
from redis_fastapi._entry import Entry, decode, encode, head_size, is_current
from redis_fastapi._keys import Target, is_path_name
from redis_fastapi._store import (
    PASS,
    READER,
    WRITER,
    Acquired,
    Claim,
    Snapshot,
    Store,
    lease_kind,
    lease_validity,
    lease_value,
    validity_of,
)
from redis_fastapi._transport import AwayError
from redis_fastapi.exceptions import CacheUnavailableError

_log = logging.getLogger("redis_fastapi")

_T = TypeVar("_T")

_TOKEN_SIZE = 8

_CLAIMS = 4
"""Claims of one look-up against generations that keep changing, before it goes without."""

_RENEWALS = 90
"""Renewals of one lease at most (5 minutes by default), so that a forgotten one ends by itself."""

_PASS_MS = 1_000
"""How long readers do not wait for one another after a response that could not be stored."""

_EVICT_SECONDS = 0.5
_EVICT_PAUSES_SECONDS = (0.02, 0.05, 0.1, 0.2)
_REPLAY_PAUSES_SECONDS = (0.1, 0.2, 0.5)
"""Between two attempts to send what is owed; the last one stays."""

_MOST_WAITING = 10_000
"""Look-ups that wait for others' computations, beyond which they compute beside them."""

_SHORTEST_POLL_SECONDS = 0.005
_LONGEST_POLL_SECONDS = 0.05

_CLOSE_SECONDS = 1.0

_PASSING = (AskError, ClusterDownError, MasterDownError, ReadOnlyError, TryAgainError)
"""Refusals of a cluster or a failover under way; an outage, if it is one, is said elsewhere."""


class BypassReason(str, Enum):
    """Why a look-up goes without the cache."""

    UNAVAILABLE = "unavailable"
    """Redis did not answer."""
    WRITING = "writing"
    """A write held the entry for as long as the look-up was willing to wait."""
    UNSTORABLE = "unstorable"
    """The response of a moment ago could not be stored: nobody waits for the next."""
    CONTENDED = "contended"
    """The generations changed with every attempt."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A valid entry.

    Attributes:
        entry: The entry.
        age_ms: Milliseconds since the entry was made, never negative.
        collapsed: Whether the look-up waited for another's computation.
    """

    entry: Entry
    age_ms: int
    collapsed: bool = False


@dataclass(frozen=True, slots=True)
class Miss:
    """Nothing valid is there: compute, then fill or release the lease."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Bypass:
    """Compute and store nothing."""

    reason: BypassReason


Outcome = Hit | Miss | Bypass


class _Ending(Enum):
    """How a lease ended without an entry to share."""

    FAILED = "failed"
    UNSTORABLE = "unstorable"


_Flight = asyncio.Future[Entry | _Ending]
"""The end of a lease of this process, for those who wait for it here."""


class _Shared:
    """What the leases of one engine have in common.

    Attributes:
        flights: The leases of this process that have not ended, by value.
        closed: Whether nothing new is to be started.
    """

    def __init__(self, store: Store, lease_ms: int) -> None:
        self.store = store
        self.lease_ms = lease_ms
        self.flights: dict[bytes, _Flight] = {}
        self.closed = False
        self._refusals: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Run `work` to its end, whatever becomes of the caller."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def refused(self, error: Exception) -> None:
        """Log, once for each kind of refusal, that Redis is there and refuses."""
        reason = type(error.__cause__).__name__
        if not isinstance(error.__cause__, ResponseError) or reason in self._refusals:
            return
        if isinstance(error.__cause__, _PASSING):
            return
        self._refusals.add(reason)
        _log.warning("nothing is stored where Redis refuses: %s", error.__cause__)

    async def close(self) -> None:
        """Give what runs a second to end, then cancel it."""
        self.closed = True
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=_CLOSE_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


class Lease:
    """The right to fill one target with what is computed from now on.

    It ends with the first `fill` or `release`; later calls do nothing.
    """

    __slots__ = ("_ended", "_flight", "_renewals", "_shared", "_target", "_timer", "_value")

    def __init__(
        self, shared: _Shared, target: Target, value: bytes, flight: _Flight | None
    ) -> None:
        self._shared = shared
        self._target = target
        self._value = value
        self._flight = flight
        self._ended = False
        self._renewals = 0
        self._timer = self._renew_later()

    @property
    def target(self) -> Target:
        """Where the fill goes."""
        return self._target

    async def fill(self, entry: Entry, ttl_ms: int | None) -> bool:
        """Store the entry for `ttl_ms` (None: no expiry) and end the lease.

        Returns:
            False when the lease was lost, Redis did not acknowledge or the entry cannot be stored.
        """
        if not self._end():
            return False
        try:
            payload = encode(entry, lease_validity(self._value))
            stored = await self._shared.store.fill(self._target, self._value, payload, ttl_ms)
        except (ValueError, CacheUnavailableError) as error:
            self._shared.refused(error)
            self._shared.spawn(self._let_go(_Ending.UNSTORABLE))
            return False
        except BaseException:
            self._shared.spawn(self._let_go(_Ending.FAILED))
            raise
        self._land(entry if stored else _Ending.FAILED)
        return stored

    async def release(self, *, storable: bool = True) -> None:
        """End the lease without an entry.

        Args:
            storable: True when the computation failed: one of those who wait computes next. False
                when its response may not be stored: all who wait compute by themselves.
        """
        if self._end():
            ending = _Ending.FAILED if storable else _Ending.UNSTORABLE
            # A cancelled caller must not take the hand-over with it.
            await asyncio.shield(self._shared.spawn(self._let_go(ending)))

    def _end(self) -> bool:
        if self._ended:
            return False
        self._ended = True
        self._timer.cancel()
        return True

    async def _let_go(self, ending: _Ending) -> None:
        # A lease that was joined is its holder's to end.
        if self._flight is None:
            return
        pass_ms = None
        if ending is _Ending.UNSTORABLE:
            self._land(ending)
            pass_ms = _PASS_MS
        await _release(self._shared.store, self._target, self._value, pass_ms=pass_ms)
        # Only now: the first to wake would meet the lease that has just ended.
        self._land(ending)

    def _land(self, end: Entry | _Ending) -> None:
        if self._flight is not None and not self._flight.done():
            del self._shared.flights[self._value]
            self._flight.set_result(end)

    def _renew_later(self) -> asyncio.TimerHandle:
        seconds = self._shared.lease_ms / 3_000
        return asyncio.get_running_loop().call_later(seconds, self._renew)

    def _renew(self) -> None:
        self._renewals += 1
        if self._shared.closed or self._renewals > _RENEWALS:
            return
        self._shared.spawn(self._send_renewal())
        self._timer = self._renew_later()

    async def _send_renewal(self) -> None:
        with suppress(CacheUnavailableError):
            await self._shared.store.renew(self._target, self._shared.lease_ms)


async def _release(
    store: Store, target: Target, value: bytes, *, pass_ms: int | None = None
) -> None:
    # Where Redis does not answer, the lease expires by itself.
    with suppress(CacheUnavailableError):
        await store.release(target, value, pass_ms=pass_ms)


@dataclass(frozen=True, slots=True)
class _Request:
    """A look-up under way; `until` is the loop's time at which it stops waiting."""

    target: Target
    refresh: bool
    until: float

    def seconds_left(self) -> float:
        return self.until - asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class _Claimed:
    """A claim that ended in a lease of the current generations, won or held by another."""

    claim: Claim
    holder: bytes
    snapshot: Snapshot

    @property
    def won(self) -> bool:
        return self.holder == self.claim.value


class Engine:
    """Look-ups, leases and evictions over one store.

    Args:
        store: Where everything goes.
        clock: Seconds since 1970, for ages.
        random: That many random bytes; unpredictable and never the same twice.
        sleep: Waits that many seconds between two looks at another process's lease.
        lease_ms: Life of a lease without its holder, in milliseconds.
        wait_max: Seconds that a look-up waits for another's computation at most.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = os.urandom,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        lease_ms: int = 10_000,
        wait_max: float = 5.0,
    ) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self._wait_max = wait_max
        self._shared = _Shared(store, lease_ms)
        self._backlog = Backlog()
        self._replay: asyncio.Task[bool] | None = None
        self._replayer: asyncio.Task[None] | None = None
        self._waiting = 0

    async def look_up(self, target: Target, *, refresh: bool = False, wait: bool = True) -> Outcome:
        """A valid entry, the lease to fill one, or the reason to go without.

        Args:
            target: What to look for.
            refresh: Ignore the entry that is there, and do not wait.
            wait: Whether to wait while another computes; otherwise compute beside it.
        """
        patience = self._wait_max if wait and not refresh else 0.0
        until = asyncio.get_running_loop().time() + patience
        request = _Request(target, refresh, until)
        try:
            budget = self._store.until()
            await self._settle(budget)
            snapshot = await self._store.read(target, until=budget)
            hit = self._hit_or_none(request, snapshot)
            return hit or await self._lead_or_follow(request, snapshot, budget)
        except CacheUnavailableError as error:
            self._shared.refused(error)
            return Bypass(BypassReason.UNAVAILABLE)

    def now_ms(self) -> int:
        """The engine's clock, in milliseconds since 1970."""
        return int(self._clock() * 1_000)

    async def peek(self, target: Target) -> Entry | None:
        """A valid entry, without any wish to fill one; None also when Redis does not answer."""
        try:
            await self._settle(self._store.until())
            snapshot = await self._store.read(target)
        except CacheUnavailableError:
            return None
        validity = validity_of(target, snapshot.tokens)
        return decode(snapshot.raw, validity) if snapshot.raw and validity else None

    async def has(self, target: Target) -> bool:
        """Whether a valid entry is there; False also when Redis does not answer."""
        size = head_size(len(target.shape) + _TOKEN_SIZE * len(target.generations))
        try:
            await self._settle(self._store.until())
            snapshot = await self._store.probe(target, size=size)
        except CacheUnavailableError:
            return False
        validity = validity_of(target, snapshot.tokens)
        return bool(snapshot.raw and validity and is_current(snapshot.raw, validity))

    async def seize(self, target: Target) -> Lease | None:
        """The lease, whoever held it, for a write that is about to run.

        Returns:
            None when Redis did not answer or the generations kept changing: evict after the write.
        """
        try:
            budget = self._store.until()
            tokens = await self._store.tokens(target, until=budget)
            claimed = await self._claim(WRITER, target, tokens, budget)
        except CacheUnavailableError:
            return None
        return self._lead(claimed) if claimed else None

    async def put(self, lease: Lease, entry: Entry, ttl_ms: int | None) -> bool:
        """Store what a write computed under its seized lease, or evict what is there.

        Goes on when the caller is cancelled.

        Returns:
            True when the next look-up cannot see anything older than the write; False when Redis
            did not acknowledge that.
        """
        return await asyncio.shield(self._shared.spawn(self._put(lease, entry, ttl_ms)))

    async def evict(self, entries: Iterable[str], generations: Iterable[str]) -> bool:
        """Remove entries and generations; goes on when the caller is cancelled.

        Returns:
            True when Redis acknowledged. False when it did not within half a second, or is known to
            be away: the eviction is kept, and sent before this engine believes an entry again.
        """
        eviction = self._evict(tuple(entries), tuple(generations))
        return await asyncio.shield(self._shared.spawn(eviction))

    async def aclose(self) -> None:
        """End what runs in the background and close what is the cache's own, not the client."""
        await self._shared.close()
        await self._close_backlog()
        await self._store.aclose()

    def _hit_or_none(
        self, request: _Request, snapshot: Snapshot, *, collapsed: bool = False
    ) -> Hit | None:
        validity = validity_of(request.target, snapshot.tokens)
        if request.refresh or snapshot.raw is None or validity is None:
            return None
        entry = decode(snapshot.raw, validity)
        return None if entry is None else self._hit(entry, collapsed=collapsed)

    def _hit(self, entry: Entry, *, collapsed: bool) -> Hit:
        age_ms = self.now_ms() - entry.created_ms
        return Hit(entry, max(0, age_ms), collapsed)

    async def _lead_or_follow(
        self, request: _Request, snapshot: Snapshot, budget: float | None
    ) -> Outcome:
        waited = False
        while True:
            claimed = await self._claim(READER, request.target, snapshot.tokens, budget)
            if claimed is None:
                return Bypass(BypassReason.CONTENDED)
            hit = self._hit_or_none(request, claimed.snapshot, collapsed=waited)
            if hit is not None:
                self._give_back(claimed)
                return hit
            if claimed.won:
                return Miss(self._lead(claimed))
            followed = await self._follow(request, claimed.holder)
            if not isinstance(followed, Snapshot):
                return followed
            snapshot, waited, budget = followed, True, self._store.until()
            if (hit := self._hit_or_none(request, snapshot, collapsed=True)) is not None:
                return hit

    async def _claim(
        self,
        kind: bytes,
        target: Target,
        tokens: tuple[bytes | None, ...],
        budget: float | None,
    ) -> _Claimed | None:
        """The lease of the current generations; None when they changed with every attempt."""
        for _ in range(_CLAIMS):
            claim = replace(self._new_claim(kind, target, tokens), until=budget)
            acquired = await self._send(claim)
            holder, tokens = acquired.holder, acquired.snapshot.tokens
            if holder and lease_validity(holder) == validity_of(target, tokens):
                return _Claimed(claim, holder, acquired.snapshot)
        self._shared.spawn(_release(self._store, target, claim.value))
        return None

    def _new_claim(self, kind: bytes, target: Target, tokens: tuple[bytes | None, ...]) -> Claim:
        fresh = tuple(self._random(_TOKEN_SIZE) if token is None else None for token in tokens)
        # Speculates that nobody else creates the missing generations meanwhile.
        believed = [new or known or b"" for new, known in zip(fresh, tokens, strict=True)]
        value = lease_value(kind, self._random(_TOKEN_SIZE), b"".join((target.shape, *believed)))
        return Claim(target, value, fresh, self._shared.lease_ms, force=kind == WRITER)

    async def _send(self, claim: Claim) -> Acquired:
        try:
            return await self._store.acquire(claim)
        except BaseException:
            # The lease may be there all the same, and nobody would end it.
            self._shared.spawn(_release(self._store, claim.target, claim.value))
            raise

    def _lead(self, claimed: _Claimed) -> Lease:
        flight: _Flight = asyncio.get_running_loop().create_future()
        self._shared.flights[claimed.holder] = flight
        return Lease(self._shared, claimed.claim.target, claimed.holder, flight)

    def _give_back(self, claimed: _Claimed) -> None:
        if claimed.won:
            release = _release(self._store, claimed.claim.target, claimed.holder)
            self._shared.spawn(release)

    async def _follow(self, request: _Request, holder: bytes) -> Outcome | Snapshot:
        """What came of another's lease: an outcome, or what was read once it was gone."""
        if lease_kind(holder) == PASS:
            return Bypass(BypassReason.UNSTORABLE)
        if self._waiting >= _MOST_WAITING:
            return self._join(request.target, holder)
        self._waiting += 1
        try:
            return await self._wait(request, holder)
        finally:
            self._waiting -= 1

    async def _wait(self, request: _Request, holder: bytes) -> Outcome | Snapshot:
        started = asyncio.get_running_loop().time()
        while (left := request.seconds_left()) > 0:
            flight = self._shared.flights.get(holder)
            if flight is not None:
                return await self._await_flight(request, flight)
            await self._sleep(min(left, self._pause(started)))
            snapshot = await self._store.read(request.target, lease=True)
            if _moved_on(request.target, snapshot, holder):
                return snapshot
        return self._join(request.target, holder)

    async def _await_flight(self, request: _Request, flight: _Flight) -> Outcome | Snapshot:
        # The claim's reply showed the leader's lease, of tokens that this look-up read itself: an
        # eviction acknowledged before is older than both, and so than the leader's computation.
        await asyncio.wait((flight,), timeout=request.seconds_left())
        end = flight.result() if flight.done() else _Ending.FAILED
        if isinstance(end, Entry):
            return self._hit(end, collapsed=True)
        if end is _Ending.UNSTORABLE:
            return Bypass(BypassReason.UNSTORABLE)
        return await self._store.read(request.target)

    def _join(self, target: Target, holder: bytes) -> Outcome:
        # A writer's lease says nothing about reads that began after it: they may be older.
        if lease_kind(holder) == WRITER:
            return Bypass(BypassReason.WRITING)
        return Miss(Lease(self._shared, target, holder, None))

    def _pause(self, started: float) -> float:
        waited = asyncio.get_running_loop().time() - started
        pause = min(_LONGEST_POLL_SECONDS, max(_SHORTEST_POLL_SECONDS, waited / 4))
        return pause * (0.75 + self._random(1)[0] / 510)

    async def _put(self, lease: Lease, entry: Entry, ttl_ms: int | None) -> bool:
        if await lease.fill(entry, ttl_ms):
            return True
        paths = [name for name in lease.target.generations if is_path_name(name)]
        return await self._evict((lease.target.entry,), tuple(paths))

    async def _evict(self, entries: tuple[str, ...], generations: tuple[str, ...]) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + _EVICT_SECONDS
        for pause in _EVICT_PAUSES_SECONDS:
            try:
                await self._store.evict(entries, generations, deadline=end - loop.time())
                return True
            except AwayError:
                break
            except CacheUnavailableError as error:
                self._shared.refused(error)
            if loop.time() + pause >= end:
                break
            await self._sleep(pause)
        self._owe(entries, generations)
        return False

    def _owe(self, entries: tuple[str, ...], generations: tuple[str, ...]) -> None:
        if not self._backlog:
            _log.error("Redis did not confirm an eviction; it is kept and sent when Redis is back")
        self._backlog.keep(entries, generations)
        if self._replayer is None and not self._shared.closed:
            self._replayer = asyncio.get_running_loop().create_task(self._replay_in_time())

    async def _replay_in_time(self) -> None:
        """Sends what is owed as soon as Redis takes it, whether or not anybody looks up."""
        for pause in chain(_REPLAY_PAUSES_SECONDS, repeat(_REPLAY_PAUSES_SECONDS[-1])):
            await asyncio.sleep(pause)
            with suppress(CacheUnavailableError):
                await self._settle(None)
                break
        self._replayer = None

    async def _settle(self, until: float | None) -> None:
        """Return once nothing is owed; CacheUnavailableError where that takes too long."""
        if not self._backlog:
            return
        if self._replay is None or self._replay.done():
            self._replay = self._shared.spawn(self._send_owed())
        left = None if until is None else until - asyncio.get_running_loop().time()
        await asyncio.wait((self._replay,), timeout=left)
        if not self._replay.done() or not self._replay.result() or self._backlog:
            raise CacheUnavailableError("evictions are owed")

    async def _send_owed(self) -> bool:
        owed = self._backlog.owed()
        try:
            await self._store.evict(owed.entries, owed.generations, deadline=_EVICT_SECONDS)
        except CacheUnavailableError:
            return False
        self._backlog.settle(owed)
        number = len(owed.entries) + len(owed.generations)
        _log.warning("Redis confirmed the evictions that were kept for it: %d names", number)
        return True

    async def _close_backlog(self) -> None:
        if self._replayer is not None:
            self._replayer.cancel()
            await asyncio.gather(self._replayer, return_exceptions=True)
        if self._backlog and not await self._send_owed():
            _log.error("evictions of %d names are lost with this process", len(self._backlog))


def _moved_on(target: Target, snapshot: Snapshot, holder: bytes) -> bool:
    """Whether there is something better to do than to wait for this holder."""
    validity = validity_of(target, snapshot.tokens)
    if snapshot.lease != holder or validity != lease_validity(holder):
        return True
    return snapshot.raw is not None and decode(snapshot.raw, lease_validity(holder)) is not None
