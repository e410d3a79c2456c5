"""How commands reach Redis: over the connections of a client's pool, or of a cluster's nodes.

- Commands are sent once, without redis-py's retries. Callers resend, since they know which
  commands may be repeated.
- Replies come from primaries. A connection with unread replies never returns to its pool.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, NamedTuple, Protocol, cast

import redis
from redis.asyncio import Redis, RedisCluster
from redis.client import NEVER_DECODE
from redis.exceptions import AskError, ConnectionError, ReadOnlyError, ResponseError

from ..exceptions import CacheSetupError, CacheUnavailableError

if sys.version_info >= (3, 11):
    from asyncio import timeout_at as timeout_at
else:
    from async_timeout import timeout_at as timeout_at


class AwayError(CacheUnavailableError):
    """Redis is known to be unreachable; nothing was sent, and an immediate retry would not help."""


class Command(NamedTuple):
    """A command, the key that routes it, and whether it may be sent only once."""

    args: tuple[str | bytes | int, ...]
    key: bytes
    once: bool = False


def keyed(name: str, key: bytes, *args: str | bytes | int, once: bool = False) -> Command:
    """A command whose first argument is the key that routes it."""
    return Command((name, key, *args), key, once)


Exchange = Callable[[Sequence[Command]], Awaitable[list[Any]]]
"""Sends commands and returns their replies in order, error replies as ResponseError instances."""


class Transport(Protocol):
    """Sends commands to Redis; those for one slot take effect in the order given.

    `until` is a deadline in the event loop's time; None means no deadline.

    Attributes:
        spread: Whether keys are spread over the slots of a cluster, so that MGET cannot read them.
    """

    spread: bool

    def get_many(
        self, keys: Sequence[bytes], *, until: float | None
    ) -> Awaitable[list[bytes | None]]:
        """The values of keys in any slots."""

    def send(
        self, commands: Sequence[Command], *, until: float | None, heavy: bool = False
    ) -> Awaitable[list[Any]]:
        """The replies in order, error replies as ResponseError instances.

        Other commands do not wait behind `heavy` ones.
        """

    def exclusive(self, key: bytes) -> AbstractAsyncContextManager[Exchange]:
        """A connection to the primary of `key`, for exclusive use."""

    async def aclose(self) -> None:
        """Close the connections that the transport opened; the client stays open."""


class Connection(Protocol):
    """The part of redis-py's connections that is used here."""

    @property
    def is_connected(self) -> bool: ...
    async def connect(self) -> None: ...
    async def disconnect(self, nowait: bool = False) -> None: ...
    def pack_commands(self, commands: Iterable[Iterable[str | bytes | int]]) -> list[bytes]: ...
    async def send_packed_command(self, command: list[bytes], check_health: bool) -> None: ...
    async def read_response(self, disable_decoding: bool, timeout: float | None = None) -> Any: ...


class Pool(Protocol):
    """The part of redis-py's pools that is used here."""

    async def get_connection(self) -> Connection: ...
    async def release(self, connection: Connection) -> None: ...


class _Borrowed:
    """A pool's connection for the duration of a `with`; disconnected if the block raises."""

    __slots__ = ("_connection", "_pool")
    _connection: Connection

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def __aenter__(self) -> Exchange:
        self._connection = await self._pool.get_connection()
        return self._exchange

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        return await exchange(self._connection, commands)

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


async def exchange(connection: Connection, commands: Sequence[Command]) -> list[Any]:
    """The replies to commands sent over an open connection."""
    # otherwise sending would silently reconnect and lose a WATCH
    if not connection.is_connected:
        raise ConnectionError("connection lost")
    packed = connection.pack_commands([command.args for command in commands])
    await connection.send_packed_command(packed, check_health=False)
    return [await read_reply(connection) for _ in commands]


async def read_reply(connection: Connection) -> Any:
    """The next reply, an error reply as a ResponseError instance; raises ReadOnlyError."""
    try:
        return await connection.read_response(disable_decoding=True)
    except ReadOnlyError:
        # no longer a primary: only a new connection can find the current one
        raise
    except ResponseError as error:
        return error


class PoolTransport:
    """Sends commands over a pool's connections, without redis-py's retries."""

    spread = False

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get_many(self, keys: Sequence[bytes], *, until: float | None) -> list[bytes | None]:
        (values,) = await self.send((keyed("MGET", *keys),), until=until)
        return cast("list[bytes | None]", reply_or_raise(values))

    async def send(
        self, commands: Sequence[Command], *, until: float | None, heavy: bool = False
    ) -> list[Any]:
        async with timeout_at(until), _Borrowed(self._pool) as exchange:
            return await exchange(commands)

    def exclusive(self, key: bytes) -> AbstractAsyncContextManager[Exchange]:
        return _Borrowed(self._pool)

    async def aclose(self) -> None:
        """Do nothing, since every connection is the pool's."""


class _Opened:
    """A separate connection to the primary of a key for the duration of a `with`."""

    __slots__ = ("_client", "_connection", "_key")
    _connection: Connection

    def __init__(self, client: RedisCluster, key: bytes) -> None:
        self._client = client
        self._key = key

    async def __aenter__(self) -> Exchange:
        await self._client.initialize()
        node = primary_of(self._client, self._key)
        self._connection = cast("Connection", node.connection_class(**node.connection_kwargs))
        await self._connection.connect()
        return self._exchange

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        return await exchange(self._connection, commands)

    async def __aexit__(self, *_: object) -> None:
        await self._connection.disconnect(nowait=True)


def primary_of(client: RedisCluster, key: bytes) -> Any:
    """The primary of a key, according to the client's topology."""
    return client.get_node_from_key(key)


class ClusterTransport:
    """Sends commands to the primaries of a cluster: in order within a slot, slots concurrently.

    Raises:
        CacheSetupError: If the client may read from replicas.
    """

    spread = True

    def __init__(self, client: RedisCluster) -> None:
        if _reads_replicas(client):
            raise CacheSetupError(
                "the cache reads from primaries only: give it a RedisCluster without "
                "read_from_replicas and load_balancing_strategy"
            )
        self._client = client

    async def get_many(self, keys: Sequence[bytes], *, until: float | None) -> list[bytes | None]:
        replies = await self.send([keyed("GET", key) for key in keys], until=until)
        return [cast("bytes | None", reply_or_raise(reply)) for reply in replies]

    async def send(
        self, commands: Sequence[Command], *, until: float | None, heavy: bool = False
    ) -> list[Any]:
        async with timeout_at(until):
            return await self._send(commands)

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        await self._initialize()
        by_slot: dict[int, list[int]] = {}
        for position, command in enumerate(commands):
            by_slot.setdefault(self._client.keyslot(command.key), []).append(position)
        in_order = (self._send_in_order([commands[p] for p in slot]) for slot in by_slot.values())
        # wait for all even if one fails: no command may run after its caller has returned
        results = await asyncio.gather(*in_order, return_exceptions=True)
        replies: dict[int, Any] = {}
        for positions, result in zip(by_slot.values(), results, strict=True):
            if isinstance(result, BaseException):
                raise result
            replies.update(zip(positions, result, strict=True))
        return [replies[position] for position in range(len(commands))]

    async def _initialize(self) -> None:
        # without a topology, the first command would go to any node and be redirected
        try:
            await self._client.initialize()
        except Exception as error:
            raise CacheUnavailableError(f"Redis Cluster: {error!r}") from error

    async def _send_in_order(self, commands: Sequence[Command]) -> list[Any]:
        return [await self._reply_or_raise(command) for command in commands]

    async def _reply_or_raise(self, command: Command) -> Any:
        send = self._send_once if command.once else self._send_and_follow
        try:
            return await send(command)
        except ResponseError as error:
            return error
        except Exception as error:
            # during a topology change, cluster clients raise errors of any type
            raise CacheUnavailableError(f"Redis Cluster: {error!r}") from error

    async def _send_and_follow(self, command: Command) -> Any:
        return await self._client.execute_command(*command.args, **{NEVER_DECODE: True})

    async def _send_once(self, command: Command) -> Any:
        try:
            return await self._send_to_primary(command)
        except AskError:
            # redirected means not executed: a read lets the client learn the slot's new node
            await self._send_and_follow(keyed("GET", command.key))
            return await self._send_to_primary(command)

    async def _send_to_primary(self, command: Command) -> Any:
        node = primary_of(self._client, command.key)
        return await node.execute_command(*command.args, **{NEVER_DECODE: True})

    def exclusive(self, key: bytes) -> AbstractAsyncContextManager[Exchange]:
        return _Opened(self._client, key)

    async def aclose(self) -> None:
        """Do nothing, since every connection is the client's."""


def _reads_replicas(client: RedisCluster) -> bool:
    strategy = getattr(client, "load_balancing_strategy", None)
    return bool(client.read_from_replicas) or strategy is not None


def transport_for(client: Redis | RedisCluster) -> Transport:
    """A transport over the client's own connections.

    Raises:
        CacheSetupError: If the client is synchronous, or may read from replicas.
    """
    _refuse_blocking(client)
    if isinstance(client, RedisCluster):
        return ClusterTransport(client)
    return PoolTransport(cast("Pool", client.connection_pool))


def _refuse_blocking(client: object) -> None:
    if isinstance(client, redis.Redis):
        raise CacheSetupError(
            f"{type(client).__name__} blocks the event loop: give the cache a client of "
            "redis.asyncio, in tests for instance FakeAsyncRedis"
        )


def replies_or_raise(replies: list[Any]) -> list[Any]:
    """The replies themselves; raises CacheUnavailableError if one of them is an error."""
    for reply in replies:
        if isinstance(reply, Exception):
            reply_or_raise(reply)
    return replies


def reply_or_raise(reply: Any) -> Any:
    """The reply itself; raises CacheUnavailableError if it is an error."""
    if isinstance(reply, Exception):
        raise CacheUnavailableError(f"Redis refused: {reply}") from reply
    return reply
