"""The Redis variants that store and engine are tested on, and engines that break one rule."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from fakeredis import FakeAsyncRedis, FakeServer
from redis._parsers.commands import AsyncCommandsParser
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode

from redis_fastapi._engine.engine import Engine, Hit, Miss, Outcome
from redis_fastapi._engine.leases import Lease
from redis_fastapi._redis.entry import Entry, Stored, head_size, stored_of
from redis_fastapi._redis.keys import EPOCH, Target, digest, group_name, path_name
from redis_fastapi._redis.shared_transport import shared_transport
from redis_fastapi._redis.store import Claim, Snapshot, Store, _guarded
from redis_fastapi._redis.tokens import SOFT_SIZE, lease_value, validity_of
from redis_fastapi._redis.transport import keyed
from servers import RedisCluster3, RedisServer

PATH = path_name("/products/1")
GROUP = group_name("products")
TARGET = Target(digest(["GET", "/products/1"]), (EPOCH, PATH, GROUP), b"shape--1")

OLD = Entry(200, ((b"content-type", b"text/plain"),), b"old", 1_000, 0)
NEW = Entry(200, ((b"content-type", b"text/plain"),), b"new", 2_000, 0)
TTL_MS = 60_000

VARIANTS = (
    *("fakeredis", "fakeredis-plain", "redis", "redis-acl", "cluster"),
    *("redis-shared", "cluster-shared"),
)

PATIENT = 5.0
"""Deadline of a connection in seconds, for a busy machine."""

_CACHE_USER = "~* &* +@all -@scripting"


@dataclass(frozen=True, slots=True)
class Variant:
    """One Redis, seen by as many clients as a test has processes."""

    connect: Callable[[], Redis | RedisCluster]
    scripting: bool
    shared: bool = False
    clients: list[Redis | RedisCluster] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)

    def client(self) -> Redis | RedisCluster:
        """One more client, closed after the test."""
        client = self.connect()
        self.clients.append(client)
        return client

    def store(self, kind: type[Store] = Store, **options: Any) -> Store:
        """A store over a client of its own."""
        client = self.client()
        if self.shared:
            options["transport"] = shared_transport(
                client, prefix="t", name="test", deadline=PATIENT
            )
        store = kind(client, prefix="t", scripting=self.scripting, **options)
        self.stores.append(store)
        return store

    def engine(
        self, kind: type[Store] = Store, *, engine: type[Engine] = Engine, **options: Any
    ) -> Engine:
        """An engine as another process would have it."""
        return engine(self.store(kind), **options)

    async def command(self, *args: str | int | bytes) -> Any:
        """A command that does not go through the store."""
        return await self.clients[0].execute_command(*args)


class KnownCommands(AsyncCommandsParser):
    """Asks a cluster for its commands once: a client takes longer to parse them than most tests."""

    def __init__(self, known: dict[str, Any]) -> None:
        super().__init__()
        self._known = known

    async def initialize(self, node: ClusterNode | None = None) -> None:
        if not self._known:
            await super().initialize(node)
            self._known.update(self.commands)
        self.node = node or self.node
        self.commands = self._known


def cluster_client(cluster: RedisCluster3) -> RedisCluster:
    """A client of the cluster that does not ask for the commands once more."""
    client = RedisCluster.from_url(cluster.url)
    client.commands_parser = KnownCommands(cluster.commands)
    return client


def variant_of(name: str, servers: Callable[[str], Any]) -> Variant:
    """The variant called `name`; `servers` yields the fixture of a server by its name."""
    bare, shared, _ = name.partition("-shared")
    variant = _variant_of(bare, servers)
    return replace(variant, shared=bool(shared))


def _variant_of(name: str, servers: Callable[[str], Any]) -> Variant:
    if name.startswith("fakeredis"):
        fake = FakeServer()
        return Variant(lambda: FakeAsyncRedis(server=fake), name == "fakeredis")
    if name == "cluster":
        cluster: RedisCluster3 = servers("redis_cluster")
        cluster.flush()
        return Variant(lambda: cluster_client(cluster), True)
    server: RedisServer = servers("redis_server")
    server.flush()
    if name == "redis":
        return Variant(lambda: Redis.from_url(server.url), True)
    server.command("ACL", "SETUSER", "unscripted", "on", ">secret", *_CACHE_USER.split())
    url = server.url.replace("://", "://unscripted:secret@")
    return Variant(lambda: Redis.from_url(url), True)


@asynccontextmanager
async def opened(variant: Variant) -> AsyncIterator[Variant]:
    """Closes the clients of a variant in the end."""
    async with AsyncExitStack() as stack:
        stack.callback(variant.clients.clear)
        yield variant
        for store in variant.stores:
            await store.aclose()
        for client in variant.clients:
            await stack.enter_async_context(client)


def claim(
    target: Target, tokens: Sequence[bytes | None], nonce: bytes = b"nonce--1", **options: Any
) -> Claim:
    """A claim after reading `tokens`; it creates the missing generations."""
    made = [nonce[-2:] + b"new-%02d" % number + b"soft----" for number in range(len(tokens))]
    fresh = tuple(new if t is None else None for new, t in zip(made, tokens, strict=True))
    believed = [new or known for new, known in zip(fresh, tokens, strict=True)]
    validity = validity_of(target, believed)
    assert validity is not None
    kind = b"w" if options.get("force") else b"r"
    return Claim(target, lease_value(kind, nonce, validity), fresh, 10_000, **options)


async def miss_of(engine: Engine, **options: Any) -> Lease:
    """The lease of a lookup that has to miss."""
    outcome = await engine.look_up(TARGET, **options)
    assert isinstance(outcome, Miss), outcome
    return outcome.lease


async def seized(engine: Engine) -> Lease:
    """A writer's lease."""
    lease = await engine.seize(TARGET)
    assert lease is not None
    return lease


def body_of(outcome: Outcome) -> bytes | None:
    """The body of a hit, None for a lookup that has to compute."""
    return outcome.entry.body if isinstance(outcome, Hit) else None


@dataclass(frozen=True, slots=True)
class Remembered:
    """An entry that a lookup found, to be recognised when it is read again."""

    stored: Stored

    def body_in(self, read: Snapshot, now_ms: int) -> bytes | None:
        """Its body, as long as it is there."""
        return self.stored.body_in(read.raw, read.tokens)


class RememberedByBytes(Remembered):
    """Looks at the entry and not at its generations."""

    def body_in(self, read: Snapshot, now_ms: int) -> bytes | None:
        return self.stored.body_in(read.raw, self.stored.tokens)


def remembered(read: Snapshot, kind: type[Remembered] = Remembered) -> Remembered:
    """What there is to remember of an entry that was read."""
    stored = stored_of(read.raw, read.tokens)
    assert stored is not None
    return kind(stored)


async def found_by(engine: Engine, kind: type[Remembered] = Remembered) -> Remembered:
    """What there is to remember of the entry, which has to be there."""
    outcome = await engine.look_up(TARGET)
    assert isinstance(outcome, Hit)
    assert outcome.read is not None
    return remembered(outcome.read, kind)


def hit_of(outcome: Outcome) -> tuple[Entry, bool] | None:
    """Entry of a hit, and whether it waited for another's computation."""
    return (outcome.entry, outcome.collapsed) if isinstance(outcome, Hit) else None


class UnconditionalFill(Store):
    """Breaks the rule that a fill needs its lease."""

    async def fill(self, target: Target, lease: bytes, payload: bytes, px: int | None) -> bool:
        fill = keyed("SET", self._keys.entry(target.entry), payload)
        await _guarded(self._send_or_raise((fill,), self.until()))
        return True


class GenerationsReadAtFill(Store):
    """Breaks the rule that an entry carries the tokens read before its computation."""

    async def fill(self, target: Target, lease: bytes, payload: bytes, px: int | None) -> bool:
        tokens = await self.tokens(target)
        if None in tokens:
            await self.acquire(claim(target, tokens, b"nonce--2"))
            tokens = await self.tokens(target)
        validity = validity_of(target, tokens)
        if validity is None:
            return False
        late = payload[: head_size(0)] + validity + payload[head_size(len(validity)) :]
        return await super().fill(target, lease, late, px)


class EvictionOfTheEntryAlone(Store):
    """Breaks the rule that an eviction ends the lease."""

    async def evict(
        self,
        entries: Iterable[str],
        generations: Iterable[str],
        *,
        deadline: float | None = None,
    ) -> None:
        keys = [self._keys.entry(entry) for entry in entries]
        deletions = [keyed("DEL", key) for key in keys]
        await _guarded(self._send_or_raise(deletions, self.until()))
        await super().evict((), generations, deadline=deadline)


class SoftEvictionsAlike(Store):
    """Breaks the rule that each soft eviction writes bytes of its own."""

    async def outdate(
        self, entries: Iterable[str], generations: Iterable[str], renewal: bytes, **options: Any
    ) -> bool:
        return await super().outdate(entries, generations, b"x" * SOFT_SIZE, **options)


class FollowsAnyFlight(Engine):
    """Breaks the rule that only the lease seen in Redis names the computation to wait for."""

    async def look_up(self, target: Target, **options: Any) -> Outcome:
        for flight in list(self._leases.flights.values()):
            end = await asyncio.shield(flight)
            if isinstance(end, Entry):
                return Hit(end, collapsed=True)
        return await super().look_up(target, **options)
