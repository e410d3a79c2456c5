"""One coroutine per atomic operation on Redis; the only module that sends commands.

- A token (of a generation or of a lease) travels in one command, sent once. A lost reply makes it
  void: whoever sent it never uses it, and nothing here or below sends it again.
- Entry, lease and staging of a target share a slot; its generations may live anywhere, and no
  operation needs them to be read or written together.
- An eviction removes the lease first and the entry second. Whatever is missing counts as evicted.
- Replies come from primaries. A connection with replies left to read never returns to its pool.
- Every trouble with Redis becomes CacheUnavailableError.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from redis.asyncio import Redis, RedisCluster
from redis.client import NEVER_DECODE
from redis.exceptions import (
    AskError,
    ConnectionError,
    NoPermissionError,
    NoScriptError,
    ReadOnlyError,
    ResponseError,
)

from redis_fastapi._keys import Target
from redis_fastapi.exceptions import CacheError, CacheSetupError, CacheUnavailableError

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

_log = logging.getLogger("redis_fastapi")

_T = TypeVar("_T")

_STAGING_MS = 2_000
"""Life of a staged entry: longer than one pipeline, short enough to be no garbage."""

_GENERATION_MS = 24 * 60 * 60 * 1_000
"""Least life of a generation; the entries that outlive theirs become misses."""

_LEASE_HEAD = 9
"""Bytes of a lease value before what its holder has read: the kind and 8 random ones."""

READER = b"r"
WRITER = b"w"
PASS = b"p"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one read saw; None for every key that is missing.

    Attributes:
        raw: The stored entry, or only its head after a probe.
        tokens: The token of each generation, in the target's order.
        lease: Value of the lease; None also where it was not asked for.
    """

    raw: bytes | None
    tokens: tuple[bytes | None, ...]
    lease: bytes | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """A wish for the lease of a target.

    Attributes:
        target: Whose lease.
        value: What the lease will hold, see `lease_value`; used for this claim only.
        fresh: For each generation a token to create it with, or None where it is known.
        lease_ms: Life of the lease in milliseconds.
        force: Take the lease whoever holds it.
    """

    target: Target
    value: bytes
    fresh: tuple[bytes | None, ...]
    lease_ms: int
    force: bool = False


@dataclass(frozen=True, slots=True)
class Acquired:
    """Who holds the lease after a claim (None: it ended meanwhile), and what could be read then."""

    holder: bytes | None
    snapshot: Snapshot


def validity_of(target: Target, tokens: Sequence[bytes | None]) -> bytes | None:
    """Validity of the target's entry under these tokens; None while a generation is missing."""
    if None in tokens:
        return None
    return b"".join((target.shape, *cast("Sequence[bytes]", tokens)))


def lease_value(kind: bytes, nonce: bytes, validity: bytes) -> bytes:
    """Value of a lease whose holder computes under `validity`; `nonce` is 8 random bytes."""
    return kind + nonce + validity


def lease_kind(value: bytes) -> bytes:
    """READER, WRITER or PASS."""
    return value[:1]


def lease_validity(value: bytes) -> bytes:
    """The validity under which the holder of this lease computes."""
    return value[_LEASE_HEAD:]


def pass_after(value: bytes) -> bytes:
    """Lease value that tells the readers after a lease not to wait for one another."""
    return PASS + value[1:]


class _Command(NamedTuple):
    """A command, the key that says where it goes, and whether it may be sent one time only."""

    args: tuple[str | bytes | int, ...]
    key: bytes
    once: bool = False


def _command(name: str, key: bytes, *args: str | bytes | int, once: bool = False) -> _Command:
    return _Command((name, key, *args), key, once)


class _Script:
    """A Lua script with its digest."""

    __slots__ = ("digest", "source")

    def __init__(self, name: str) -> None:
        self.source = files("redis_fastapi").joinpath("_lua", f"{name}.lua").read_bytes()
        self.digest = sha1(self.source, usedforsecurity=False).hexdigest()

    def by_digest(self, keys: Sequence[bytes], args: Sequence[bytes | int]) -> _Command:
        return _Command(("EVALSHA", self.digest, len(keys), *keys, *args), keys[0], once=True)

    def by_source(self, keys: Sequence[bytes], args: Sequence[bytes | int]) -> _Command:
        return _Command(("EVAL", self.source, len(keys), *keys, *args), keys[0], once=True)


_ACQUIRE = _Script("acquire")
_FILL = _Script("fill")
_RELEASE = _Script("release")

_Exchange = Callable[[Sequence[_Command]], Awaitable[list[Any]]]
"""Sends commands and returns their replies in order, error replies as ResponseError instances."""


class _Transport(Protocol):
    """How commands reach Redis; commands for one slot arrive in the order given."""

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values of keys in any slots."""

    async def send(self, commands: Sequence[_Command]) -> list[Any]:
        """Replies in order, error replies as ResponseError instances."""

    def exclusive(self, key: bytes) -> AbstractAsyncContextManager[_Exchange]:
        """A connection that nobody else uses meanwhile, to the primary of `key`."""


class _Connection(Protocol):
    """What is used of redis-py's connections."""

    @property
    def is_connected(self) -> bool: ...
    async def connect(self) -> None: ...
    async def disconnect(self, nowait: bool = False) -> None: ...
    def pack_commands(self, commands: Iterable[Iterable[str | bytes | int]]) -> list[bytes]: ...
    async def send_packed_command(self, command: list[bytes], check_health: bool) -> None: ...
    async def read_response(self, disable_decoding: bool) -> Any: ...


class _Pool(Protocol):
    async def get_connection(self) -> _Connection: ...
    async def release(self, connection: _Connection) -> None: ...


class _Borrowed:
    """A pool's connection for the time of a `with`; one that was interrupted is closed."""

    __slots__ = ("_connection", "_pool")
    _connection: _Connection

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool

    async def __aenter__(self) -> _Exchange:
        self._connection = await self._pool.get_connection()
        return self._exchange

    async def _exchange(self, commands: Sequence[_Command]) -> list[Any]:
        return await _exchange(self._connection, commands)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is not None:
                await self._connection.disconnect(nowait=True)
        finally:
            await self._pool.release(self._connection)


async def _exchange(connection: _Connection, commands: Sequence[_Command]) -> list[Any]:
    # Sending would reconnect silently, and a WATCH of the lost connection would watch nothing.
    if not connection.is_connected:
        raise ConnectionError("connection lost")
    packed = connection.pack_commands([command.args for command in commands])
    await connection.send_packed_command(packed, check_health=False)
    return [await _read_reply(connection) for _ in commands]


async def _read_reply(connection: _Connection) -> Any:
    try:
        return await connection.read_response(disable_decoding=True)
    except ReadOnlyError:
        # Not a primary any more: only a new connection can find the one that is.
        raise
    except ResponseError as error:
        return error


class _PoolTransport:
    """Commands over a pool's connections, written once each: no retry of redis-py applies."""

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        (values,) = await self.send((_command("MGET", *keys),))
        return cast("list[bytes | None]", _answer(values))

    async def send(self, commands: Sequence[_Command]) -> list[Any]:
        async with _Borrowed(self._pool) as exchange:
            return await exchange(commands)

    def exclusive(self, key: bytes) -> AbstractAsyncContextManager[_Exchange]:
        return _Borrowed(self._pool)


class _Opened:
    """A connection of its own to the primary of a key, closed in the end."""

    __slots__ = ("_client", "_connection", "_key")
    _connection: _Connection

    def __init__(self, client: RedisCluster, key: bytes) -> None:
        self._client = client
        self._key = key

    async def __aenter__(self) -> _Exchange:
        await self._client.initialize()
        node = _primary_of(self._client, self._key)
        self._connection = cast("_Connection", node.connection_class(**node.connection_kwargs))
        await self._connection.connect()
        return self._exchange

    async def _exchange(self, commands: Sequence[_Command]) -> list[Any]:
        return await _exchange(self._connection, commands)

    async def __aexit__(self, *_: object) -> None:
        await self._connection.disconnect(nowait=True)


def _primary_of(client: RedisCluster, key: bytes) -> Any:
    return client.get_node_from_key(cast("str", key))


class _ClusterTransport:
    """Commands to the primaries of a cluster: slots in parallel, one slot in order."""

    def __init__(self, client: RedisCluster) -> None:
        if _reads_replicas(client):
            raise CacheSetupError(
                "the cache reads from primaries only: give it a RedisCluster without "
                "read_from_replicas and load_balancing_strategy"
            )
        self._client = client

    async def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        replies = await self.send([_command("GET", key) for key in keys])
        return [cast("bytes | None", _answer(reply)) for reply in replies]

    async def send(self, commands: Sequence[_Command]) -> list[Any]:
        await self._initialize()
        by_slot: dict[int, list[int]] = {}
        for position, command in enumerate(commands):
            by_slot.setdefault(self._client.keyslot(command.key), []).append(position)
        in_order = (self._send_in_order([commands[p] for p in slot]) for slot in by_slot.values())
        # All are awaited even when one fails: a command left behind would run after its caller.
        results = await asyncio.gather(*in_order, return_exceptions=True)
        replies: dict[int, Any] = {}
        for positions, result in zip(by_slot.values(), results, strict=True):
            if isinstance(result, BaseException):
                raise result
            replies.update(zip(positions, result, strict=True))
        return [replies[position] for position in range(len(commands))]

    async def _initialize(self) -> None:
        # A client's first command, sent before this, goes to any node and is redirected.
        try:
            await self._client.initialize()
        except Exception as error:
            raise CacheUnavailableError(f"Redis Cluster: {error!r}") from error

    async def _send_in_order(self, commands: Sequence[_Command]) -> list[Any]:
        return [await self._reply_or_raise(command) for command in commands]

    async def _reply_or_raise(self, command: _Command) -> Any:
        send = self._send_once if command.once else self._send_and_follow
        try:
            return await send(command)
        except ResponseError as error:
            return error
        except Exception as error:
            # A cluster client in the middle of a topology change fails in ways of its own.
            raise CacheUnavailableError(f"Redis Cluster: {error!r}") from error

    async def _send_and_follow(self, command: _Command) -> Any:
        return await self._client.execute_command(*command.args, **{NEVER_DECODE: True})

    async def _send_once(self, command: _Command) -> Any:
        try:
            return await self._send_to_primary(command)
        except AskError:
            # Redirected means not executed: a read teaches the client the way for a second try.
            await self._send_and_follow(_command("GET", command.key))
            return await self._send_to_primary(command)

    async def _send_to_primary(self, command: _Command) -> Any:
        node = _primary_of(self._client, command.key)
        return await node.execute_command(*command.args, **{NEVER_DECODE: True})

    def exclusive(self, key: bytes) -> AbstractAsyncContextManager[_Exchange]:
        return _Opened(self._client, key)


def _reads_replicas(client: RedisCluster) -> bool:
    strategy = getattr(client, "load_balancing_strategy", None)
    return bool(client.read_from_replicas) or strategy is not None


def _transport_for(client: Redis | RedisCluster) -> _Transport:
    if isinstance(client, RedisCluster):
        return _ClusterTransport(client)
    return _PoolTransport(cast("_Pool", client.connection_pool))


def _answer(reply: Any) -> Any:
    """The reply itself, or CacheUnavailableError when Redis refused."""
    if isinstance(reply, Exception):
        raise CacheUnavailableError(f"Redis refused: {reply}") from reply
    return reply


def _refuses_scripts(reply: Any) -> bool:
    if isinstance(reply, NoPermissionError):
        return True
    return isinstance(reply, ResponseError) and "unknown command" in str(reply).lower()


class Store:
    """The operations of the cache on one Redis.

    Args:
        client: Its pool or cluster nodes carry the commands; its retries and decoding do not apply.
        prefix: First part of every key.
        scripting: Whether to try Lua; where the server refuses it, plain commands take over.
        deadline: Seconds that one operation may take altogether; None for no limit.
        generation_ms: Least life of a generation, in milliseconds.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        *,
        prefix: str,
        scripting: bool = True,
        deadline: float | None = None,
        generation_ms: int = _GENERATION_MS,
    ) -> None:
        self._transport = _transport_for(client)
        self._prefix = prefix
        self._scripting = scripting
        self._deadline = deadline
        self._generation_ms = generation_ms

    async def read(self, target: Target, *, lease: bool = False) -> Snapshot:
        """The entry and its generations, with `lease` also the lease; one round trip."""
        return await self._bounded(self._read(target, lease=lease))

    async def tokens(self, target: Target) -> tuple[bytes | None, ...]:
        """The target's generations alone; one round trip."""
        keys = self._generation_keys(target)
        return tuple(await self._bounded(self._transport.get_many(keys)))

    async def probe(self, target: Target, *, size: int) -> Snapshot:
        """The entry's first `size` bytes and its generations; one round trip."""
        return await self._bounded(self._probe(target, size=size))

    async def acquire(self, claim: Claim) -> Acquired:
        """Create missing generations, claim the lease and read again; mostly one round trip."""
        return await self._bounded(self._acquire(claim))

    async def fill(self, target: Target, lease: bytes, payload: bytes, px: int | None) -> bool:
        """Store the entry for `px` ms (None: no expiry) and end the lease, if it still holds."""
        return await self._bounded(self._fill(target, lease, payload, px))

    async def release(self, target: Target, lease: bytes, *, pass_ms: int | None = None) -> None:
        """End the lease if it still holds; with `pass_ms` nobody waits for a lease that long."""
        await self._bounded(self._release(target, lease, pass_ms))

    async def renew(self, target: Target, lease_ms: int) -> None:
        """Let the lease, whoever holds it, live another `lease_ms` milliseconds."""
        command = _command("PEXPIRE", self._lease_key(target.entry), lease_ms)
        await self._bounded(self._send_or_raise((command,)))

    async def evict(
        self,
        entries: Iterable[str],
        generations: Iterable[str],
        *,
        deadline: float | None = None,
    ) -> None:
        """Remove entries with their leases, and generations; repeatable (`deadline` in seconds)."""
        commands: list[_Command] = []
        for entry in entries:
            commands.append(_command("DEL", self._lease_key(entry)))
            commands.append(_command("DEL", self._entry_key(entry)))
        commands.extend(_command("DEL", self._generation_key(name)) for name in generations)
        if commands:
            await self._bounded(self._send_or_raise(commands), deadline=deadline)

    async def _bounded(
        self, operation: Coroutine[Any, Any, _T], *, deadline: float | None = None
    ) -> _T:
        try:
            async with timeout(self._deadline if deadline is None else deadline):
                return await operation
        except CacheError:
            raise
        except Exception as error:  # also what a client raises that another event loop has closed
            raise CacheUnavailableError(f"Redis: {error!r}") from error

    async def _send_or_raise(self, commands: Sequence[_Command]) -> list[Any]:
        return [_answer(reply) for reply in await self._transport.send(commands)]

    def _entry_key(self, entry: str) -> bytes:
        return f"{self._prefix}:e:{{{entry}}}".encode()

    def _lease_key(self, entry: str) -> bytes:
        return f"{self._prefix}:l:{{{entry}}}".encode()

    def _staging_key(self, entry: str, lease: bytes) -> bytes:
        return f"{self._prefix}:s:{{{entry}}}:{lease[1:_LEASE_HEAD].hex()}".encode()

    def _generation_key(self, name: str) -> bytes:
        return f"{self._prefix}:{name}".encode()

    def _generation_keys(self, target: Target) -> list[bytes]:
        return [self._generation_key(name) for name in target.generations]

    async def _read(self, target: Target, *, lease: bool) -> Snapshot:
        keys = [self._entry_key(target.entry), *self._generation_keys(target)]
        if not lease:
            raw, *tokens = await self._transport.get_many(keys)
            return Snapshot(raw, tuple(tokens))
        keys.append(self._lease_key(target.entry))
        raw, *tokens, held = await self._transport.get_many(keys)
        return Snapshot(raw, tuple(tokens), held)

    async def _probe(self, target: Target, *, size: int) -> Snapshot:
        head = _command("GETRANGE", self._entry_key(target.entry), 0, size - 1)
        tokens = [_command("GET", key) for key in self._generation_keys(target)]
        return _snapshot(await self._send_or_raise((head, *tokens)))

    async def _acquire(self, claim: Claim) -> Acquired:
        creations = self._creations(claim)
        if claim.force:
            return await self._acquire_by_force(claim, creations)
        if self._scripting:
            yields = any(token is not None for token in claim.fresh)
            outcome = await self._run(
                _ACQUIRE,
                (self._lease_key(claim.target.entry),),
                (claim.value, claim.lease_ms, b"" if yields else lease_validity(claim.value)),
                before=creations,
                after=self._reads(claim.target),
            )
            if outcome is not None:
                return Acquired(outcome[0], _snapshot(outcome[1:]))
            # They have been sent, and a token is sent once.
            creations = []
        return await self._acquire_without_script(claim, creations)

    def _creations(self, claim: Claim) -> list[_Command]:
        keys = self._generation_keys(claim.target)
        return [
            _command("SET", key, token, "NX", "PX", self._generation_ms, once=True)
            for key, token in zip(keys, claim.fresh, strict=True)
            if token is not None
        ]

    def _reads(self, target: Target) -> list[_Command]:
        keys = (self._entry_key(target.entry), *self._generation_keys(target))
        return [_command("GET", key) for key in keys]

    async def _acquire_by_force(self, claim: Claim, creations: list[_Command]) -> Acquired:
        commands = [*creations, self._overthrow(claim), *self._reads(claim.target)]
        replies = await self._send_or_raise(commands)
        return Acquired(claim.value, _snapshot(replies[len(creations) + 1 :]))

    def _overthrow(self, claim: Claim) -> _Command:
        key = self._lease_key(claim.target.entry)
        return _command("SET", key, claim.value, "PX", claim.lease_ms, once=True)

    async def _acquire_without_script(self, claim: Claim, creations: list[_Command]) -> Acquired:
        key = self._lease_key(claim.target.entry)
        take = _command("SET", key, claim.value, "NX", "PX", claim.lease_ms, once=True)
        commands = [*creations, take, _command("GET", key), *self._reads(claim.target)]
        replies = await self._send_or_raise(commands)
        taken, held, *values = replies[len(creations) :]
        acquired = Acquired(held, _snapshot(values))
        # A value that was there for a moment must not come back: somebody may have joined it.
        if taken is not None or held is None or any(claim.fresh):
            return acquired
        if lease_validity(held) == lease_validity(claim.value):
            return acquired
        taken_over = await self._while_held(key, held, (self._overthrow(claim),))
        return Acquired(claim.value if taken_over else None, acquired.snapshot)

    async def _fill(self, target: Target, lease: bytes, payload: bytes, px: int | None) -> bool:
        keys = (
            self._entry_key(target.entry),
            self._lease_key(target.entry),
            self._staging_key(target.entry, lease),
        )
        if self._scripting:
            outcome = await self._run(
                _FILL,
                keys,
                (lease, b"" if px is None else px),
                before=[_command("SET", keys[2], payload, "PX", _STAGING_MS)],
                after=self._lives(target),
            )
            if outcome is not None:
                return await self._filled(target, outcome[0] == 1, outcome[1:], px)
        life = () if px is None else ("PX", px)
        store = (_command("SET", keys[0], payload, *life), _command("DEL", keys[1]))
        stored = await self._while_held(keys[1], lease, store)
        lives = await self._send_or_raise(self._lives(target)) if stored else []
        return await self._filled(target, stored, lives, px)

    async def _while_held(
        self, lease_key: bytes, lease: bytes, commands: Sequence[_Command]
    ) -> bool:
        """Whether the lease held `lease` when the commands ran; otherwise they did not."""
        bare = (_Command((name,), lease_key) for name in ("UNWATCH", "MULTI", "EXEC"))
        unwatch, multi, run = bare
        async with self._transport.exclusive(lease_key) as exchange:
            watched = await exchange((_command("WATCH", lease_key), _command("GET", lease_key)))
            if [_answer(reply) for reply in watched][1] != lease:
                await exchange((unwatch,))
                return False
            replies = await exchange((multi, *commands, run))
        done = _answer(replies[-1])
        for reply in done or ():
            _answer(reply)
        return done is not None

    def _lives(self, target: Target) -> list[_Command]:
        return [_command("PTTL", key) for key in self._generation_keys(target)]

    async def _filled(
        self, target: Target, stored: bool, lives: Sequence[int], px: int | None
    ) -> bool:
        # Seldom: an extension tells every local tier that the generation changed.
        if stored and (extensions := self._extensions(target, lives, px)):
            with suppress(CacheUnavailableError):
                await self._send_or_raise(extensions)
        return stored

    def _extensions(self, target: Target, lives: Sequence[int], px: int | None) -> list[_Command]:
        keys = self._generation_keys(target)
        if px is None:
            return [_command("PERSIST", k) for k, ms in zip(keys, lives, strict=True) if ms >= 0]
        wanted = max(self._generation_ms, 4 * px)
        short = (k for k, ms in zip(keys, lives, strict=True) if 0 <= ms < wanted // 2)
        return [_command("PEXPIRE", key, wanted) for key in short]

    async def _release(self, target: Target, lease: bytes, pass_ms: int | None) -> None:
        key = self._lease_key(target.entry)
        if self._scripting:
            successor = b"" if pass_ms is None else pass_after(lease)
            outcome = await self._run(_RELEASE, (key,), (lease, successor, pass_ms or 0))
            if outcome is not None:
                return
        ending = _command("DEL", key)
        if pass_ms is not None:
            ending = _command("SET", key, pass_after(lease), "PX", pass_ms)
        await self._while_held(key, lease, (ending,))

    async def _run(
        self,
        script: _Script,
        keys: Sequence[bytes],
        args: Sequence[bytes | int],
        *,
        before: Sequence[_Command] = (),
        after: Sequence[_Command] = (),
    ) -> list[Any] | None:
        """The script's reply and those of `after`; None when the server has no scripting for us."""
        commands = [*before, script.by_digest(keys, args), *after]
        replies = await self._transport.send(commands)
        for reply in replies[: len(before)]:
            _answer(reply)
        replies = replies[len(before) :]
        if isinstance(replies[0], NoScriptError):
            replies = await self._transport.send((script.by_source(keys, args), *after))
        if _refuses_scripts(replies[0]):
            self._go_without_scripts(replies[0])
            return None
        return [_answer(reply) for reply in replies]

    def _go_without_scripts(self, reason: ResponseError) -> None:
        self._scripting = False
        _log.info("Redis refuses Lua scripts, plain transactions take over: %s", reason)


def _snapshot(values: Sequence[bytes | None]) -> Snapshot:
    raw, *tokens = values
    return Snapshot(raw or None, tuple(tokens))
