"""Leases: who computes an entry, and who may store it.

- A fill is stored only while the lease obtained before its computation holds. An eviction ends the
  lease first, so an acknowledged eviction of an entry beats every computation that began earlier.
- A lease names the generations its holder computes under; nobody waits for one with older tokens.
- A lease ends with its holder: it is renewed while the computation runs, released if that fails,
  and expires if the process dies. Losing one costs a computation, nothing else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

from .._background import Background
from .._redis.changes import Changes
from .._redis.compression import Compress
from .._redis.entry import Entry, encode
from .._redis.keys import Target
from .._redis.store import Acquired, Claim, Snapshot, Store
from .._redis.tokens import (
    NONCE_SIZE,
    READER,
    TOKEN_SIZE,
    WRITER,
    lease_validity,
    lease_value,
    validity_of,
)
from ..exceptions import CacheUnavailableError
from .known_tokens import KnownTokens, Tokens
from .refusals import Operation, Refusals

_CLAIMS = 4
"""Attempts of one lookup while generations keep changing, before it bypasses the cache."""

_RENEWALS = 90
"""Upper bound on renewals of a lease (5 minutes by default), so that a forgotten one expires."""

_RELEASE_PAUSE_MS = 500
"""Between attempts to end a lease if Redis did not reply."""

_PASS_MS = 1_000
"""How long readers do not wait for each other after a response that could not be stored."""


class Ending(Enum):
    """How a lease ended without an entry to share."""

    FAILED = "failed"
    UNSTORABLE = "unstorable"


Flight = asyncio.Future[Entry | Ending]
"""The outcome of a lease of this process, for lookups of this process that wait for it."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A claim after which a lease with the current generations exists, won or held by another."""

    claim: Claim
    holder: bytes
    snapshot: Snapshot

    @property
    def won(self) -> bool:
        """Whether the lease is the claim's own."""
        return self.holder == self.claim.value


class Lease:
    """The right to fill one target with what is computed from now on.

    It ends with the first `fill` or `release`; later calls do nothing.

    Attributes:
        filled: Whether an entry was stored under it.
    """

    __slots__ = (
        "_ended",
        "_flight",
        "_leases",
        "_renewals",
        "_target",
        "_timer",
        "_value",
        "filled",
    )

    def __init__(self, leases: Leases, target: Target, value: bytes, flight: Flight | None) -> None:
        self._leases = leases
        self._target = target
        self._value = value
        self._flight = flight
        self._ended = False
        self.filled = False
        self._renewals = 0
        self._timer = self._renew_later()

    @property
    def target(self) -> Target:
        """The target to fill."""
        return self._target

    async def fill(self, entry: Entry, ttl_ms: int | None) -> bool:
        """Store the entry for `ttl_ms` (None: 30 days) and end the lease.

        Returns:
            False if the lease was lost, Redis did not acknowledge or the entry cannot be stored.
        """
        if not self._end():
            return False
        try:
            payload = encode(entry, lease_validity(self._value), self._leases.compress)
            stored = await self._leases.store.fill(self._target, self._value, payload, ttl_ms)
        except (ValueError, CacheUnavailableError) as error:
            self._leases.refusals.refused(Operation.FILL, error)
            self._leases.background.spawn(self._hand_over(Ending.UNSTORABLE))
            return False
        except BaseException:
            self._leases.background.spawn(self._hand_over(Ending.FAILED))
            raise
        self._leases.refusals.granted(Operation.FILL)
        self.filled = stored
        self._leases.changes.changed(self._target.entry)
        self._resolve(entry if stored else Ending.FAILED)
        return stored

    async def release(self, *, storable: bool = True) -> None:
        """End the lease without an entry.

        Args:
            storable: True if the computation failed: one of the waiting lookups computes next.
                False if the response may not be stored: all waiting lookups compute in parallel.
        """
        if self._end():
            ending = Ending.FAILED if storable else Ending.UNSTORABLE
            # Handing over must survive a cancelled caller.
            await asyncio.shield(self._leases.background.spawn(self._hand_over(ending)))

    def _end(self) -> bool:
        if self._ended:
            return False
        self._ended = True
        self._timer.cancel()
        return True

    async def _hand_over(self, ending: Ending) -> None:
        # Only its holder ends a lease; joining it does not count.
        if self._flight is None:
            return
        pass_ms = None
        if ending is Ending.UNSTORABLE:
            self._resolve(ending)
            pass_ms = _PASS_MS
        await self._leases.release(self._target, self._value, pass_ms=pass_ms)
        # Not earlier: the first to wake would find the lease that is about to end.
        self._resolve(ending)

    def _resolve(self, end: Entry | Ending) -> None:
        if self._flight is not None and not self._flight.done():
            del self._leases.flights[self._value]
            self._flight.set_result(end)

    def _renew_later(self) -> asyncio.TimerHandle:
        seconds = self._leases.lease_ms / 3_000
        return asyncio.get_running_loop().call_later(seconds, self._renew)

    def _renew(self) -> None:
        self._renewals += 1
        if self._leases.background.closed or self._renewals > _RENEWALS:
            return
        self._leases.background.spawn(self._send_renewal())
        self._timer = self._renew_later()

    async def _send_renewal(self) -> None:
        with suppress(CacheUnavailableError):
            await self._leases.store.renew(self._target, self._leases.lease_ms)


class Leases:
    """The leases that one engine claims, holds and joins.

    Attributes:
        flights: The leases of this process that have not ended, by value.
        known_tokens: Tokens of the generations under which leases were claimed.
        lease_ms: Milliseconds until a lease expires that its holder does not renew.
        compress: Compresses large bodies; None stores them as they are.
    """

    def __init__(
        self,
        store: Store,
        background: Background,
        refusals: Refusals,
        changes: Changes,
        *,
        random: Callable[[int], bytes],
        sleep: Callable[[float], Awaitable[None]],
        lease_ms: int,
        compress: Compress | None = None,
    ) -> None:
        self.store = store
        self.background = background
        self.refusals = refusals
        self.changes = changes
        self.lease_ms = lease_ms
        self.compress = compress
        self.flights: dict[bytes, Flight] = {}
        self.known_tokens = KnownTokens(changes)
        self._random = random
        self._sleep = sleep

    async def claim(
        self,
        kind: bytes,
        target: Target,
        tokens: tuple[bytes | None, ...],
        until: float | None,
    ) -> Claimed | None:
        """Claim the lease with the current generations; None if they changed at every attempt."""
        for _ in range(_CLAIMS):
            claim = self._new_claim(kind, target, tokens, until)
            acquired = await self._send(claim)
            self.refusals.granted(Operation.LOOK_UP)
            if claimed := self._claimed(claim, acquired):
                return claimed
            tokens = acquired.snapshot.tokens
        self.background.spawn(self.release(target, claim.value))
        return None

    async def claim_absent(
        self, target: Target, until: float | None
    ) -> tuple[Snapshot, Claimed | None]:
        """Read, and claim the lease in the same exchange if there is no entry.

        The claim names the tokens that this process saw last. These may be outdated, so it never
        replaces another holder's lease.

        Returns:
            What was read, and the lease if it names the current generations.
        """
        tokens = self.known_tokens.of(target)
        claim = self._new_claim(READER, target, tokens, until, if_absent=True)
        acquired = await self._send(claim)
        self.refusals.granted(Operation.LOOK_UP)
        claimed, snapshot = self._claimed(claim, acquired), acquired.snapshot
        if claimed is not None and snapshot.raw is not None:  # it was stored in the meantime
            self.give_back(claimed)
            return snapshot, None
        return snapshot, claimed

    def lead(self, claimed: Claimed) -> Lease:
        """The lease of a claim that was won."""
        flight: Flight = asyncio.get_running_loop().create_future()
        self.flights[claimed.holder] = flight
        return Lease(self, claimed.claim.target, claimed.holder, flight)

    def join(self, target: Target, holder: bytes) -> Lease:
        """Share another holder's lease: whoever computes first may fill under it."""
        return Lease(self, target, holder, None)

    def give_back(self, claimed: Claimed) -> None:
        """End a lease that turned out not to be needed, if it was won."""
        if claimed.won:
            self.background.spawn(self.release(claimed.claim.target, claimed.holder))

    async def release(self, target: Target, value: bytes, *, pass_ms: int | None = None) -> None:
        """End a lease in Redis; retry in the background until it would have expired."""
        try:
            await self.store.release(target, value, pass_ms=pass_ms)
        except CacheUnavailableError:
            if not self.background.closed:
                self.background.spawn(self._release_later(target, value, pass_ms))

    async def _release_later(self, target: Target, value: bytes, pass_ms: int | None) -> None:
        # After an outage, nobody should wait for a holder that gave up during it.
        for _ in range(self.lease_ms // _RELEASE_PAUSE_MS):
            await self._sleep(_RELEASE_PAUSE_MS / 1_000)
            if self.background.closed:
                return
            with suppress(CacheUnavailableError):
                await self.store.release(target, value, pass_ms=pass_ms)
                return

    def _claimed(self, claim: Claim, acquired: Acquired) -> Claimed | None:
        """The lease, if it names the generations that were read after it was claimed."""
        target, holder, snapshot = claim.target, acquired.holder, acquired.snapshot
        self.known_tokens.learn(target, snapshot.tokens)
        if holder is None or lease_validity(holder) != validity_of(target, snapshot.tokens):
            return None
        return Claimed(claim, holder, snapshot)

    def _new_claim(
        self,
        kind: bytes,
        target: Target,
        tokens: tuple[bytes | None, ...],
        until: float | None,
        *,
        if_absent: bool = False,
    ) -> Claim:
        fresh: Tokens = ()
        validity = validity_of(target, tokens)
        if validity is None:
            fresh = tuple([self._random(TOKEN_SIZE) if one is None else None for one in tokens])
            # assumes that nobody else creates the missing generations in the meantime
            assumed = [new or known for new, known in zip(fresh, tokens, strict=True)]
            validity = validity_of(target, assumed)
        assert validity is not None
        value = lease_value(kind, self._random(NONCE_SIZE), validity)
        return Claim(target, value, fresh, self.lease_ms, kind == WRITER, if_absent, until)

    async def _send(self, claim: Claim) -> Acquired:
        try:
            return await self.store.acquire(claim)
        except BaseException:
            # The lease may exist nevertheless, and nobody else would end it.
            self.background.spawn(self.release(claim.target, claim.value))
            raise
