"""Transports over shared connections: one per primary, cloned from the client's.

The client's own connections remain for the commands of endpoints. The cache uses them only where it
needs a connection for itself, and for fills so large that lookups would wait behind them; while the
breaker is open it uses none.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, cast

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    RedisClusterException,
    TryAgainError,
)

from .._background import cancel
from ..exceptions import CacheUnavailableError
from .shared_connection import SharedConnection
from .transport import (
    AwayError,
    ClusterTransport,
    Command,
    Connection,
    Exchange,
    Pool,
    PoolTransport,
    Transport,
    primary_of,
    replies_or_raise,
)

logger = logging.getLogger("redis_fastapi")

_REDIRECTED = (MovedError, AskError, TryAgainError, ClusterDownError, MasterDownError)

_NOT_CLONED = (
    "event_dispatcher",
    "health_check_interval",
    "himport_registry",
    "legacy_responses",
    "retry_on_error",
    "retry_on_timeout",
    "socket_timeout",
)
"""Options that belong to a pool, or that make a connection send or wait on its own."""

_NOT_CLONED_PREFIXES = ("maint", "orig_", "oss_cluster_maint")

_GRACE_SECONDS = 0.005
_LEARN_SECONDS = 2.0
_LEARN_PAUSE_SECONDS = 0.5

ReadFrom = Callable[[str | None], None]
"""Called with the name of the primary that serves reads; None if it is unknown."""


def _ignore(node: str | None) -> None:
    """Do nothing."""


def shared_transport(
    client: Redis | RedisCluster,
    *,
    prefix: str,
    name: str,
    deadline: float,
    read_from: ReadFrom | None = None,
) -> Transport:
    """A transport with its own connections, to be closed before the client is.

    Args:
        client: Supplies addresses and credentials.
        prefix: First part of every key.
        name: The server in log lines, without secrets.
        deadline: Seconds within which a reachable server replies.
        read_from: Called with the primary that serves reads, when that may have changed.
    """
    notify = read_from or _ignore
    if isinstance(client, RedisCluster):
        return SharedClusterTransport(
            client, prefix=prefix, name=name, deadline=deadline, read_from=notify
        )
    return SharedTransport(client, prefix=prefix, name=name, deadline=deadline, read_from=notify)


def clone(connection_class: Any, options: dict[str, Any]) -> Connection:
    """A connection with a pool's or node's options, without retries and not yet connected."""
    kept = {
        name: value
        for name, value in options.items()
        if name not in _NOT_CLONED and not name.startswith(_NOT_CLONED_PREFIXES)
    }
    own = {"retry": Retry(NoBackoff(), 0), "socket_timeout": None, "protocol": 2}
    return cast("Connection", connection_class(**kept | own))


class SharedTransport:
    """One connection to one server, or to the master that Sentinel names."""

    spread = False

    def __init__(
        self,
        client: Redis,
        *,
        prefix: str,
        name: str,
        deadline: float,
        read_from: ReadFrom = _ignore,
    ) -> None:
        pool = client.connection_pool
        self._pool = PoolTransport(cast("Pool", pool))
        make = partial(clone, pool.connection_class, pool.connection_kwargs)
        demoted = partial(read_from, None)
        self._connection = SharedConnection(
            make, prefix=prefix, name=name, deadline=deadline, demoted=demoted
        )

    @property
    def is_away(self) -> bool:
        """Whether the breaker is open, so that nothing is sent."""
        return self._connection.is_away

    def get_many(
        self, keys: Sequence[bytes], *, until: float | None
    ) -> Awaitable[list[bytes | None]]:
        """The values of keys, merged with other lookups in this iteration of the event loop."""
        return self._connection.get_many(keys, until)

    def send(
        self, commands: Sequence[Command], *, until: float | None, heavy: bool = False
    ) -> Awaitable[list[Any]]:
        """The replies in order, error replies as ResponseError instances."""
        if not heavy:
            return self._connection.send(commands, until)
        self._connection.raise_if_away()
        return self._pool.send(commands, until=until)

    def exclusive(self, key: bytes) -> AbstractAsyncContextManager[Exchange]:
        """A connection of the client's pool."""
        self._connection.raise_if_away()
        return self._pool.exclusive(key)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._connection.aclose()


class SharedClusterTransport:
    """One connection to each primary; redirections are followed through the client."""

    spread = True

    def __init__(
        self,
        client: RedisCluster,
        *,
        prefix: str,
        name: str,
        deadline: float,
        read_from: ReadFrom = _ignore,
    ) -> None:
        self._followed = ClusterTransport(client)
        self._client = client
        self._prefix = prefix
        self._deadline = deadline
        self._read_from = read_from
        self._topology = _Topology(client, name, deadline)
        self._connections: dict[str, SharedConnection] = {}
        self._examples: dict[str, bytes] = {}
        self._retired: set[asyncio.Task[None]] = set()

    async def get_many(self, keys: Sequence[bytes], *, until: float | None) -> list[bytes | None]:
        """The values of keys in any slots, read from their nodes concurrently."""
        await self._topology.known(until)
        replies: list[Any] = [None] * len(keys)
        parts = self._by_node(keys)
        connections = self._connections_to(parts, keys)
        _raise_if_away(connections)
        reads = [
            connection.get_many([keys[p] for p in at], until)
            for connection, (_, at) in zip(connections, parts, strict=True)
        ]
        for (_, at), values in zip(parts, await _all(reads), strict=True):
            for position, value in zip(at, values, strict=True):
                replies[position] = value
        astray = [p for p, reply in enumerate(replies) if isinstance(reply, _REDIRECTED)]
        if astray:
            self._read_from(None)
            found = await self._followed.get_many([keys[p] for p in astray], until=until)
            for position, value in zip(astray, found, strict=True):
                replies[position] = value
        return replies_or_raise(replies)

    async def send(
        self, commands: Sequence[Command], *, until: float | None, heavy: bool = False
    ) -> list[Any]:
        """The replies in order, error replies as ResponseError instances.

        If a node is unreachable, the others have executed their commands when this raises.
        """
        await self._topology.known(until)
        keys = [command.key for command in commands]
        parts = self._by_node(keys)
        connections = self._connections_to(parts, keys)
        if heavy:
            _raise_if_away(connections)
            return await self._followed.send(commands, until=until)
        sent = [
            _sent(connection, [commands[p] for p in at], until)
            for connection, (_, at) in zip(connections, parts, strict=True)
        ]
        replies: list[Any] = [None] * len(commands)
        for (_, at), values in zip(parts, await _all(sent), strict=True):
            for position, value in zip(at, values, strict=True):
                replies[position] = value
        await self._follow(commands, replies, until)
        return replies

    def exclusive(self, key: bytes) -> AbstractAsyncContextManager[Exchange]:
        """A separate connection to the primary of `key`."""
        _raise_if_away(self._connections.values())
        return self._followed.exclusive(key)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._topology.aclose()
        await asyncio.gather(
            *(connection.aclose() for connection in self._connections.values()), *self._retired
        )

    async def _follow(
        self, commands: Sequence[Command], replies: list[Any], until: float | None
    ) -> None:
        """Resend redirected commands to their slot's new node, and those that may have overtaken.

        These are the later ones for the same slot, except for commands to be sent only once.
        """
        if not any(isinstance(reply, _REDIRECTED) for reply in replies):
            return
        astray: set[int] = set()
        again: list[int] = []
        for position, (command, reply) in enumerate(zip(commands, replies, strict=True)):
            slot = self._client.keyslot(command.key)
            redirected = isinstance(reply, _REDIRECTED)
            if redirected:
                astray.add(slot)
            if redirected or (slot in astray and not command.once):
                again.append(position)
        followed = await self._followed.send([commands[p] for p in again], until=until)
        for position, reply in zip(again, followed, strict=True):
            replies[position] = reply

    def _by_node(self, keys: Sequence[bytes]) -> list[tuple[Any, list[int]]]:
        """Each node with the positions of its keys."""
        parts: dict[str, tuple[Any, list[int]]] = {}
        for position, key in enumerate(keys):
            try:
                node = primary_of(self._client, key)
            except RedisClusterException as error:
                raise CacheUnavailableError(f"Redis Cluster: {error}") from error
            parts.setdefault(node.name, (node, []))[1].append(position)
        return list(parts.values())

    def _connections_to(
        self, parts: Sequence[tuple[Any, list[int]]], keys: Sequence[bytes]
    ) -> list[SharedConnection]:
        """The connections to the nodes of `parts`, in order."""
        return [self._connection_to(node, keys[at[0]]) for node, at in parts]

    def _connection_to(self, node: Any, key: bytes) -> SharedConnection:
        self._examples[node.name] = key
        self._read_from(node.name)
        connection = self._connections.get(node.name)
        if connection is None:
            self._retire_former_primaries()
            connection = self._connections[node.name] = SharedConnection(
                partial(clone, node.connection_class, node.connection_kwargs),
                prefix=self._prefix,
                name=node.name,
                deadline=self._deadline,
                spread=True,
                rediscover=partial(self._query_another, node.name),
            )
        return connection

    def _retire_former_primaries(self) -> None:
        """Close the connections to nodes that have left the cluster or are no longer primaries."""
        names = {node.name for node in self._client.get_primaries()}
        for name in [name for name in self._connections if name not in names]:
            del self._examples[name]
            task = asyncio.get_running_loop().create_task(self._connections.pop(name).aclose())
            self._retired.add(task)
            task.add_done_callback(self._retired.discard)

    async def _query_another(self, away: str) -> None:
        """Read from another primary, so that the client learns of a failover of `away`."""
        # first, since redis-py 6 would otherwise connect to a chosen node that it has dropped
        await self._client.initialize()
        key = self._examples.get(away)
        others = [node for node in self._client.get_primaries() if node.name != away]
        if key is not None and others:
            await self._client.execute_command("GET", key, target_nodes=random.choice(others))


def _raise_if_away(connections: Iterable[SharedConnection]) -> None:
    for connection in connections:
        connection.raise_if_away()


def _sent(
    connection: SharedConnection, commands: Sequence[Command], until: float | None
) -> asyncio.Future[list[Any]]:
    """A future of the replies, which raises the error if the connection refuses to send."""
    try:
        return connection.send(commands, until)
    except CacheUnavailableError as error:
        refused = asyncio.get_running_loop().create_future()
        refused.set_exception(error)
        return refused


async def _all(futures: Sequence[asyncio.Future[list[Any]]]) -> list[list[Any]]:
    """The results of all futures; raises the first failure once all have ended."""
    if len(futures) == 1:
        return [await futures[0]]
    ends = await asyncio.gather(*futures, return_exceptions=True)
    for end in ends:
        if isinstance(end, BaseException):
            raise end
    return cast("list[list[Any]]", ends)


class _Topology:
    """Loads the cluster's topology into the client once, in the background."""

    def __init__(self, client: RedisCluster, name: str, deadline: float) -> None:
        self._client = client
        self._name = name
        self._deadline = deadline
        self._is_known = False
        self._is_away = False
        self._learning: asyncio.Task[None] | None = None

    async def known(self, until: float | None) -> None:
        """Wait until the nodes are known; raises AwayError if that takes too long.

        Args:
            until: Deadline in the event loop's time; None means the deadline of the transport.
        """
        if self._is_known:
            return
        if self._is_away:
            raise AwayError(f"Redis Cluster at {self._name} is away")
        if self._learning is None:
            self._learning = asyncio.get_running_loop().create_task(self._learn())
        wait = self._deadline + _GRACE_SECONDS
        if until is not None:
            wait = until - asyncio.get_running_loop().time() + _GRACE_SECONDS
        await asyncio.wait((self._learning,), timeout=max(0.0, wait))
        if not self._is_known:
            self._report_away("no reply in time")
            raise AwayError(f"Redis Cluster at {self._name} is away")

    async def aclose(self) -> None:
        """Stop loading."""
        if self._learning is not None:
            await cancel(self._learning)

    async def _learn(self) -> None:
        while not self._is_known:
            try:
                await asyncio.wait_for(self._client.initialize(), _LEARN_SECONDS)
                self._is_known = True
            except Exception as error:  # cluster clients raise errors of any type
                self._report_away(f"{type(error).__name__}: {error}")
                await asyncio.sleep(_LEARN_PAUSE_SECONDS)
        if self._is_away:
            self._is_away = False
            logger.warning("Redis Cluster at %s is back", self._name, extra={"redis": self._name})

    def _report_away(self, reason: str) -> None:
        if self._is_away:
            return
        self._is_away = True
        logger.warning(
            "Redis Cluster at %s is away, endpoints run without it: %s",
            self._name,
            reason,
            extra={"redis": self._name},
        )
