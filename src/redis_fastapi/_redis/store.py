"""One coroutine per atomic operation on Redis; the only module that sends commands.

- A token (of a generation or of a lease) is sent in one command, once. If the reply is lost the
  token is void: its sender never uses it, and nothing here or below resends it.
- Entry, lease and staging of a target share a slot; its generations may be in any slot, and no
  operation needs them to be read or written together.
- An eviction removes the lease first and the entry second. Whatever is missing counts as evicted.
- A soft eviction overwrites the second half of a token, in one step, and only if the token exists.
  It never brings back what an eviction removed.
- Replies come from primaries. A connection with unread replies never returns to its pool.
- Every failure of Redis is raised as CacheUnavailableError.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import NoScriptError, ResponseError

from ..exceptions import CacheError, CacheUnavailableError
from .entry import MARK_AT, MARKED
from .keys import Keyspace, Target
from .lifetimes import GenerationLifetimes
from .scripts import Script, refuses_scripts
from .tokens import HARD_SIZE, lease_nonce, lease_validity, pass_after, tokens_of
from .transport import (
    Command,
    Transport,
    keyed,
    replies_or_raise,
    reply_or_raise,
    timeout_at,
    transport_for,
)

logger = logging.getLogger("redis_fastapi")

_T = TypeVar("_T")

_STAGING_MS = 2_000
"""Expiry of a staged entry: longer than one pipeline, short enough not to accumulate."""

_GENERATION_MS = 60 * 60 * 1_000
"""Minimum expiry of a generation; clients determine how many there are if values name groups."""

_LONGEST_MS = 30 * 24 * 60 * 60 * 1_000
"""Expiry of an entry without a ttl, so that unused ones are removed eventually."""

_REPLICATION_MS = 100
"""How long one attempt waits for replicas to confirm an eviction."""

_HEAVY_BYTES = 64 * 1024
"""Payload size from which a fill uses another connection, so that no lookup waits for it."""

_KEYS_KNOWN = 1_024
"""Targets whose keys are memoized."""

_HEAVY_SECONDS = 1.0
"""Deadline of such a fill."""


class Snapshot(NamedTuple):
    """What one read saw; None for every key that is missing.

    Attributes:
        raw: The stored entry, or only its head after a probe.
        tokens: The token of each generation, in the target's order.
        lease: Value of the lease; None also if it was not read.
    """

    raw: bytes | None
    tokens: tuple[bytes | None, ...]
    lease: bytes | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A request for the lease of a target.

    Attributes:
        target: The target.
        value: The lease's value, see `lease_value`; used for this claim only.
        fresh: For each generation, a token to create it with, or None if its token is known; empty
            if all are.
        lease_ms: Expiry of the lease in milliseconds.
        force: Take the lease from any holder.
        if_absent: Take it only if there is no entry; never, if scripting is refused.
        until: When the claim fails, in the event loop's time; None means the store's deadline.
    """

    target: Target
    value: bytes
    fresh: tuple[bytes | None, ...]
    lease_ms: int
    force: bool = False
    if_absent: bool = False
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Acquired:
    """The value that holds the lease after a claim, and what was read then.

    The holder is None if the lease ended meanwhile, or if the claim was `if_absent` and there is an
    entry.
    """

    holder: bytes | None
    snapshot: Snapshot


_ACQUIRE = Script("acquire")
_FILL = Script("fill")
_RELEASE = Script("release")
_OUTDATE = Script("outdate")


def _transaction(key: bytes) -> tuple[Command, Command, Command]:
    unwatch, multi, run = (Command((name,), key) for name in ("UNWATCH", "MULTI", "EXEC"))
    return unwatch, multi, run


async def _guarded(operation: Awaitable[_T]) -> _T:
    try:
        return await operation
    except CacheError:  # its cause says whether Redis refused
        raise
    except Exception as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> CacheUnavailableError:
    """The only kind of error, also for what a client of a closed event loop raises."""
    return CacheUnavailableError(f"Redis: {error!r}")


class Store:
    """The operations of the cache on one Redis.

    Args:
        client: Provides the connections; its retries and response decoding do not apply.
        prefix: First part of every key.
        scripting: Whether to use Lua; if the server refuses it, transactions are used instead.
        deadline: Seconds that one operation may take in total; None means no limit.
        generation_ms: Minimum expiry of a generation, in milliseconds.
        transport: Carries the commands instead of the client's own connections.
        wait_replicas: How many replicas have to confirm an eviction.
        clock: Returns seconds from any origin, to track the expiry of generations.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        *,
        prefix: str,
        scripting: bool = True,
        deadline: float | None = None,
        generation_ms: int = _GENERATION_MS,
        transport: Transport | None = None,
        wait_replicas: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._transport = transport or transport_for(client)
        self._keys = Keyspace(prefix)
        self._scripting = scripting
        self._deadline = deadline
        self._generation_ms = generation_ms
        self._wait_replicas = wait_replicas
        self._lifetimes = GenerationLifetimes(clock)
        # Popular targets are read again and again, and a miss reads its own three times.
        self._read_keys = lru_cache(_KEYS_KNOWN)(self._keys.read)

    def until(self) -> float | None:
        """When an operation that starts now fails, in the event loop's time."""
        deadline = self._deadline
        return None if deadline is None else asyncio.get_running_loop().time() + deadline

    async def aclose(self) -> None:
        """Close the cache's own connections."""
        await self._transport.aclose()

    async def read(
        self, target: Target, *, lease: bool = False, until: float | None = None
    ) -> Snapshot:
        """Read the entry and its generations, and with `lease` the lease too; one round trip."""
        keys: Sequence[bytes] = self._read_keys(target)
        if lease:
            keys = (*keys, self._keys.lease(target.entry))
        try:
            values = await self._transport.get_many(keys, until=until or self.until())
        except CacheError:
            raise
        except Exception as error:
            raise _unavailable(error) from error
        held = values.pop() if lease else None
        return Snapshot(values[0], tuple(values[1:]), held)

    async def tokens(
        self, target: Target, *, until: float | None = None
    ) -> tuple[bytes | None, ...]:
        """Read the target's generations alone; one round trip."""
        keys = self._generation_keys(target)
        reading = self._transport.get_many(keys, until=until or self.until())
        return tuple(await _guarded(reading))

    async def probe(self, target: Target, *, size: int) -> Snapshot:
        """Read the entry's first `size` bytes and its generations; one round trip."""
        return await _guarded(self._probe(target, size=size))

    async def acquire(self, claim: Claim) -> Acquired:
        """Create missing generations, claim the lease and read again; usually one round trip."""
        return await _guarded(self._acquire(claim, claim.until or self.until()))

    async def fill(self, target: Target, lease: bytes, payload: bytes, px: int | None) -> bool:
        """Store the entry for `px` ms (None: 30 days) and end the lease, if it still holds."""
        return await _guarded(self._fill(target, lease, payload, px or _LONGEST_MS))

    async def release(self, target: Target, lease: bytes, *, pass_ms: int | None = None) -> None:
        """End the lease if it still holds; for `pass_ms`, readers do not wait for each other."""
        await _guarded(self._release(target, lease, pass_ms))

    async def renew(self, target: Target, lease_ms: int) -> None:
        """Extend the lease, whoever holds it, to `lease_ms` milliseconds from now."""
        renewal = keyed("PEXPIRE", self._keys.lease(target.entry), lease_ms)
        await _guarded(self._send_or_raise((renewal,), self.until()))

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Send other commands; error replies are returned as exceptions. There is no deadline.

        Raises:
            CacheUnavailableError: Redis did not reply.
        """
        return await _guarded(self._transport.send(commands, until=None))

    async def evict(
        self,
        entries: Iterable[str],
        generations: Iterable[str],
        *,
        deadline: float | None = None,
    ) -> None:
        """Remove entries with their leases, and generations; may be repeated.

        Args:
            entries: Digests of entries.
            generations: Names of generations.
            deadline: Seconds that it may take in total; None means the store's deadline.
        """
        until = self._until(self._deadline if deadline is None else deadline)
        slots = [
            [keyed("DEL", self._keys.lease(entry)), keyed("DEL", self._keys.entry(entry))]
            for entry in entries
        ]
        slots += [[keyed("DEL", self._keys.generation(name))] for name in generations]
        await _guarded(self._evict(slots, until))

    async def outdate(
        self,
        entries: Iterable[str],
        generations: Iterable[str],
        renewal: bytes,
        *,
        deadline: float | None = None,
    ) -> bool:
        """Make entries stale, and end their leases.

        Args:
            entries: Digests of entries.
            generations: Names of generations.
            renewal: 8 random bytes, for this call only; the new second half of each token.
            deadline: Seconds that it may take in total; None means the store's deadline.

        Returns:
            False if that cannot be done in one step: evict instead.
        """
        until = self._until(self._deadline if deadline is None else deadline)
        if self._scripting and await self._outdated_by_script(
            tuple(entries), tuple(generations), renewal, until
        ):
            return True
        if self._wait_replicas:
            return False
        await _guarded(self._outdate_without_script(entries, generations, renewal, until))
        return True

    async def _outdated_by_script(
        self,
        entries: Sequence[str],
        generations: Sequence[str],
        renewal: bytes,
        until: float | None,
    ) -> bool:
        slots = [[keyed("DEL", self._keys.lease(entry)), self._marking(entry)] for entry in entries]
        slots += [[self._renewing(name, renewal)] for name in generations]
        return await _guarded(self._outdate(slots, until))

    def _marking(self, entry: str) -> Command:
        # may be repeated, as it must be after a redirected deletion of its lease
        script = _OUTDATE.by_source((self._keys.entry(entry),), (MARK_AT, MARKED))
        return script._replace(once=False)

    def _renewing(self, generation: str, renewal: bytes) -> Command:
        return _OUTDATE.by_source((self._keys.generation(generation),), (HARD_SIZE, renewal))

    async def _outdate(self, slots: Sequence[Sequence[Command]], until: float | None) -> bool:
        try:
            await self._evict(slots, until)
        except CacheUnavailableError as error:
            refusal = error.__cause__
            if not isinstance(refusal, ResponseError) or not refuses_scripts(refusal):
                raise
            self._go_without_scripts(refusal)
            return False
        return True

    async def _outdate_without_script(
        self,
        entries: Iterable[str],
        generations: Iterable[str],
        renewal: bytes,
        until: float | None,
    ) -> None:
        for entry in entries:
            await self._send_or_raise((keyed("DEL", self._keys.lease(entry)),), until)
            await self._overwrite(self._keys.entry(entry), MARK_AT, MARKED, until)
        for name in generations:
            await self._overwrite(self._keys.generation(name), HARD_SIZE, renewal, until)

    async def _overwrite(self, key: bytes, offset: int, part: bytes, until: float | None) -> None:
        """Overwrite part of an existing value; remove a value that changes meanwhile."""
        unwatch, multi, run = _transaction(key)
        async with timeout_at(until), self._transport.exclusive(key) as exchange:
            watched = await exchange((keyed("WATCH", key), keyed("EXISTS", key)))
            if not [reply_or_raise(reply) for reply in watched][1]:
                await exchange((unwatch,))
                return
            replies = await exchange((multi, keyed("SETRANGE", key, offset, part), run))
            if reply_or_raise(replies[-1]) is None:
                reply_or_raise((await exchange((keyed("DEL", key),)))[0])

    async def _evict(self, slots: Sequence[Sequence[Command]], until: float | None) -> None:
        if self._wait_replicas:
            await self._evict_replicated(slots, until)
        elif slots:
            await self._send_or_raise([one for slot in slots for one in slot], until)

    async def _evict_replicated(
        self, slots: Sequence[Sequence[Command]], until: float | None
    ) -> None:
        """Send each list, whose commands share a slot, and wait for the replicas."""
        for commands in slots:
            key = commands[0].key
            async with timeout_at(until), self._transport.exclusive(key) as exchange:
                wait = Command(("WAIT", self._wait_replicas, _REPLICATION_MS), key)
                *_, confirmed = [reply_or_raise(one) for one in await exchange((*commands, wait))]
            if confirmed < self._wait_replicas:
                raise CacheUnavailableError(f"{confirmed} of {self._wait_replicas} replicas")

    def _until(self, seconds: float | None) -> float | None:
        return None if seconds is None else asyncio.get_running_loop().time() + seconds

    async def _send_or_raise(self, commands: Sequence[Command], until: float | None) -> list[Any]:
        return replies_or_raise(await self._transport.send(commands, until=until))

    def _generation_keys(self, target: Target) -> tuple[bytes, ...]:
        return self._read_keys(target)[1:]

    async def _probe(self, target: Target, *, size: int) -> Snapshot:
        head = keyed("GETRANGE", self._keys.entry(target.entry), 0, size - 1)
        tokens = [keyed("GET", key) for key in self._generation_keys(target)]
        raw, *found = await self._send_or_raise((head, *tokens), self.until())
        return Snapshot(raw or None, tuple(found))

    async def _acquire(self, claim: Claim, until: float | None) -> Acquired:
        creations = self._creations(claim)
        for token in filter(None, claim.fresh):
            self._lifetimes.learn(token, self._generation_ms)
        if claim.force:
            return await self._acquire_by_force(claim, creations, until)
        if self._scripting:
            acquired = await self._acquire_by_script(claim, creations, until)
            if acquired is not None:
                return acquired
            # These were sent already, and a token is sent only once.
            creations = []
        if claim.if_absent:
            replies = await self._send_or_raise(self._reads(claim.target), until)
            return Acquired(None, self._snapshot(replies))
        return await self._acquire_without_script(claim, creations, until)

    def _creations(self, claim: Claim) -> list[Command]:
        if not any(claim.fresh):
            return []
        keys = self._generation_keys(claim.target)
        return [
            keyed("SET", key, token, "NX", "PX", self._generation_ms, once=True)
            for key, token in zip(keys, claim.fresh, strict=True)
            if token is not None
        ]

    def _reads(self, target: Target) -> list[Command]:
        keys = self._read_keys(target)
        if self._transport.spread:
            return [keyed("GET", key) for key in keys]
        return [keyed("MGET", *keys)]

    def _snapshot(self, replies: list[Any]) -> Snapshot:
        """The snapshot in the replies to `_reads`."""
        raw, *tokens = replies if self._transport.spread else replies[0]
        return Snapshot(raw or None, tuple(tokens))

    async def _acquire_by_script(
        self, claim: Claim, creations: list[Command], until: float | None
    ) -> Acquired | None:
        """None if the server refuses scripts."""
        lease, entry = self._keys.lease(claim.target.entry), self._read_keys(claim.target)[0]
        yields = claim.if_absent or any(claim.fresh)
        outcome = await self._run(
            _ACQUIRE,
            (lease, entry) if claim.if_absent else (lease,),
            (claim.value, claim.lease_ms, b"" if yields else lease_validity(claim.value)),
            before=creations,
            until=until,
            after=self._reads(claim.target),
        )
        return None if outcome is None else Acquired(outcome[0], self._snapshot(outcome[1:]))

    async def _acquire_by_force(
        self, claim: Claim, creations: list[Command], until: float | None
    ) -> Acquired:
        commands = [*creations, self._take_by_force(claim), *self._reads(claim.target)]
        replies = await self._send_or_raise(commands, until)
        return Acquired(claim.value, self._snapshot(replies[len(creations) + 1 :]))

    def _take_by_force(self, claim: Claim) -> Command:
        key = self._keys.lease(claim.target.entry)
        return keyed("SET", key, claim.value, "PX", claim.lease_ms, once=True)

    async def _acquire_without_script(
        self, claim: Claim, creations: list[Command], until: float | None
    ) -> Acquired:
        key = self._keys.lease(claim.target.entry)
        take = keyed("SET", key, claim.value, "NX", "PX", claim.lease_ms, once=True)
        commands = [*creations, take, keyed("GET", key), *self._reads(claim.target)]
        replies = await self._send_or_raise(commands, until)
        taken, held, *values = replies[len(creations) :]
        acquired = Acquired(held, self._snapshot(values))
        # A value that existed for a moment must not come back: somebody may have joined it.
        if taken is not None or held is None or any(claim.fresh):
            return acquired
        if lease_validity(held) == lease_validity(claim.value):
            return acquired
        taken_over = await self._while_held(key, held, (self._take_by_force(claim),), until)
        return Acquired(claim.value if taken_over else None, acquired.snapshot)

    async def _fill(self, target: Target, lease: bytes, payload: bytes, px: int) -> bool:
        keys = (
            self._read_keys(target)[0],
            self._keys.lease(target.entry),
            self._keys.staging(target.entry, lease_nonce(lease)),
        )
        possibly_short = self._possibly_short(target, lease, px)
        heavy = len(payload) >= _HEAVY_BYTES
        until = self.until()
        if heavy and until is not None:
            until = self._until(_HEAVY_SECONDS)
        if self._scripting:
            outcome = await self._run(
                _FILL,
                keys,
                (lease, px),
                until=until,
                heavy=heavy,
                before=[keyed("SET", keys[2], payload, "PX", _STAGING_MS)],
                after=_remaining_lifetimes(possibly_short),
            )
            if outcome is not None:
                return await self._extend_generations(
                    possibly_short, outcome[0] == 1, outcome[1:], px
                )
        store = (keyed("SET", keys[0], payload, "PX", px), keyed("DEL", keys[1]))
        stored = await self._while_held(keys[1], lease, store, until)
        queries = _remaining_lifetimes(possibly_short) if stored else []
        lives = await self._send_or_raise(queries, until) if queries else []
        return await self._extend_generations(possibly_short, stored, lives, px)

    async def _while_held(
        self, lease_key: bytes, lease: bytes, commands: Sequence[Command], until: float | None
    ) -> bool:
        """Run commands only while the lease has the value `lease`; returns whether they ran."""
        unwatch, multi, run = _transaction(lease_key)
        async with timeout_at(until), self._transport.exclusive(lease_key) as exchange:
            watched = await exchange((keyed("WATCH", lease_key), keyed("GET", lease_key)))
            if [reply_or_raise(reply) for reply in watched][1] != lease:
                await exchange((unwatch,))
                return False
            replies = await exchange((multi, *commands, run))
        done = reply_or_raise(replies[-1])
        for reply in done or ():
            reply_or_raise(reply)
        return done is not None

    def _possibly_short(self, target: Target, lease: bytes, px: int) -> dict[bytes, bytes]:
        """Tokens, by key, of generations that may expire too early for an entry of `px` ms."""
        keys, tokens = self._generation_keys(target), tokens_of(lease_validity(lease))
        least_ms = self._wanted_ms(px) // 2
        return {
            key: token
            for key, token in zip(keys, tokens, strict=True)
            if not self._lifetimes.cover(token, least_ms)
        }

    def _wanted_ms(self, px: int) -> int:
        """The expiry in milliseconds of a generation that is extended for an entry of `px` ms."""
        return max(self._generation_ms, 4 * px)

    async def _extend_generations(
        self, possibly_short: dict[bytes, bytes], stored: bool, lives: Sequence[int], px: int
    ) -> bool:
        if not stored or not possibly_short:
            return stored
        wanted_ms, short = self._wanted_ms(px), []
        for (key, token), life_ms in zip(possibly_short.items(), lives, strict=True):
            # wrong for a token evicted meanwhile, but that one never comes back
            self._lifetimes.learn(token, life_ms)
            if 0 <= life_ms < wanted_ms // 2:
                short.append(keyed("PEXPIRE", key, wanted_ms))
        # Kept rare: every local tier is notified of an extension as a change.
        if short:
            with suppress(CacheUnavailableError):
                await self._send_or_raise(short, self.until())
        return stored

    async def _release(self, target: Target, lease: bytes, pass_ms: int | None) -> None:
        key = self._keys.lease(target.entry)
        if self._scripting:
            successor = b"" if pass_ms is None else pass_after(lease)
            args = (lease, successor, pass_ms or 0)
            outcome = await self._run(_RELEASE, (key,), args, until=self.until())
            if outcome is not None:
                return
        ending = keyed("DEL", key)
        if pass_ms is not None:
            ending = keyed("SET", key, pass_after(lease), "PX", pass_ms)
        await self._while_held(key, lease, (ending,), self.until())

    async def _run(
        self,
        script: Script,
        keys: Sequence[bytes],
        args: Sequence[bytes | int],
        *,
        until: float | None,
        heavy: bool = False,
        before: Sequence[Command] = (),
        after: Sequence[Command] = (),
    ) -> list[Any] | None:
        """The replies of the script and of `after`; None if the server refuses scripts."""
        commands = [*before, script.by_digest(keys, args), *after]
        replies = await self._transport.send(commands, until=until, heavy=heavy)
        for reply in replies[: len(before)]:
            reply_or_raise(reply)
        replies = replies[len(before) :]
        if isinstance(replies[0], NoScriptError):
            again = (script.by_source(keys, args), *after)
            replies = await self._transport.send(again, until=until)
        if refuses_scripts(replies[0]):
            self._go_without_scripts(replies[0])
            return None
        return replies_or_raise(replies)

    def _go_without_scripts(self, reason: ResponseError) -> None:
        self._scripting = False
        logger.info("Redis refuses Lua scripts, plain transactions take over: %s", reason)


def _remaining_lifetimes(generations: Iterable[bytes]) -> list[Command]:
    return [keyed("PTTL", key) for key in generations]
