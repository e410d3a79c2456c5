"""Hearing what changes in Redis: when it counts, when it does not, and who is woken by it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from fastapi import FastAPI
from httpx import AsyncClient
from redis.asyncio import Redis, RedisCluster

from race.harness import move, owner
from redis_fastapi import Cached, CacheEvict, FastAPIRedis, RedisSettings
from redis_fastapi._app.runtime import STATE, Runtime
from redis_fastapi._engine.engine import Engine, Hit, Miss
from redis_fastapi._engine.local import LocalTier
from redis_fastapi._redis.changes import Changes
from redis_fastapi._redis.entry import Entry
from redis_fastapi._redis.keys import EPOCH, Keyspace, Target, digest, group_name, tracked
from redis_fastapi._redis.shared_transport import clone, shared_transport
from redis_fastapi._redis.store import Store
from redis_fastapi._redis.tracker import Tracker
from redis_fastapi._redis.tracking import Tracking
from redis_fastapi.telemetry import Answered, Event
from servers import LOOPBACK, RedisCluster3, RedisServer, redis_server_available
from support import Runs, calling, new_app, state_of

pytestmark = pytest.mark.skipif(bool(redis_server_available()), reason="needs a redis-server")

PREFIX = "t"
TARGET = Target(digest(["a"]), (EPOCH, group_name("g")), b"shape--1")
EVICTIONS: tuple[tuple[list[str], list[str]], ...] = (
    ([TARGET.entry], []),
    ([], [group_name("g")]),
    ([], [EPOCH]),
)
KEY = Keyspace(PREFIX).entry(TARGET.entry)


def entry(engine: Engine, body: bytes = b"body") -> Entry:
    return Entry(200, (), body, engine.now_ms(), 60_000)


async def until(condition: Callable[[], bool], *, seconds: float = 15.0) -> None:
    """Poll until a condition holds."""
    for _ in range(int(seconds / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


@dataclass
class Process:
    """What one process has: an engine, its local tier and its tracking."""

    engine: Engine
    tier: LocalTier
    changes: Changes
    tracking: Tracking

    async def until_kept(self, target: Target = TARGET) -> None:
        """Look up until the entry is kept: what an earlier fill pushes may come in between."""
        for _ in range(1_000):
            assert isinstance(await self.engine.look_up(target, local=True), Hit)
            if self.engine.recall(target) is not None:
                return
            await asyncio.sleep(0.005)
        raise TimeoutError


@asynccontextmanager
async def process(
    client: Any, *, tracks: bool = True, told: bool = True, silence: float = 5.0
) -> AsyncIterator[Process]:
    changes = Changes()
    tracking = Tracking(client, changes, prefix=PREFIX, name="here", silence=silence)
    options: dict[str, Any] = {"prefix": PREFIX, "name": "here", "deadline": 5.0}
    transport = shared_transport(client, **options, read_from=tracking.read_from if told else None)
    tier = LocalTier(changes, max_bytes=1_000_000)
    store = Store(client, prefix=PREFIX, deadline=5.0, transport=transport)
    engine = Engine(store, local=tier)
    if tracks:
        tracking.start()
        await until(lambda: changes.is_tracking)
    try:
        yield Process(engine, tier, changes, tracking)
    finally:
        await tracking.aclose()
        await engine.aclose()


async def fill(process: Process, target: Target = TARGET) -> None:
    outcome = await process.engine.look_up(target, local=True)
    assert isinstance(outcome, Miss)
    assert await outcome.lease.fill(entry(process.engine), 60_000)


@pytest.fixture
async def two(redis_client: Redis) -> AsyncIterator[tuple[Process, Process]]:
    """Two processes that one server notifies."""
    async with process(redis_client) as first, process(redis_client) as second:
        yield first, second


# -- what is heard


async def test_every_kind_of_change_is_reported(redis_client: Redis) -> None:
    heard: list[bytes | None] = []
    pool, switched = redis_client.connection_pool, asyncio.Event()
    tracker = Tracker(
        partial(clone, pool.connection_class, pool.connection_kwargs),
        prefixes=tracked(PREFIX),
        changed=heard.append,
        switched=switched.set,
        silence=5.0,
    )
    task = asyncio.create_task(tracker.run())
    await switched.wait()
    await redis_client.set(KEY, "x", px=30)
    await until(lambda: heard == [KEY])
    await until(lambda: heard == [KEY, KEY])  # the end of its life
    await redis_client.set("t:g:n:group", "x")
    await redis_client.delete("t:g:n:group")
    await redis_client.set("t:l:{lease}", "x")
    await until(lambda: heard[2:] in ([b"t:g:n:group"], [b"t:g:n:group"] * 2))
    await redis_client.flushall()
    await until(lambda: heard[-1] is None)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not tracker.is_tracking


async def test_an_entry_that_another_process_evicts_is_dropped(
    two: tuple[Process, Process],
) -> None:
    first, second = two
    for names in EVICTIONS:
        await fill(first)
        await second.until_kept()
        assert await first.engine.evict(*names)
        await until(lambda: second.engine.recall(TARGET) is None)


async def test_a_writer_sees_its_own_write_at_once(two: tuple[Process, Process]) -> None:
    engine = two[0].engine
    for names in EVICTIONS:
        await fill(two[0])
        await two[0].until_kept()
        assert await engine.evict(*names)
        assert engine.recall(TARGET) is None
    await fill(two[0])
    await two[0].until_kept()
    lease = await engine.seize(TARGET)
    assert lease is not None
    assert await engine.put(lease, entry(engine, b"new"), 60_000)
    outcome = await engine.look_up(TARGET, local=True)
    assert isinstance(outcome, Hit)
    assert outcome.entry.body == b"new"


@pytest.mark.parametrize("named", [group_name("g"), group_name("other")])
async def test_an_entry_of_an_unacknowledged_eviction_is_dropped(named: str) -> None:
    with RedisServer() as server:
        async with Redis.from_url(server.url) as client, process(client) as one:
            await fill(one)
            await one.until_kept()
            server.pause()
            assert not await one.engine.evict((), (named,))
            assert (one.engine.recall(TARGET) is None) == (named in TARGET.generations)
            server.resume()


async def test_a_client_that_wants_a_refresh_skips_the_fast_path(
    two: tuple[Process, Process],
) -> None:
    await fill(two[0])
    await two[0].until_kept()
    assert isinstance(await two[0].engine.look_up(TARGET, refresh=True, local=True), Miss)


# -- when it does not count


async def test_while_the_connection_is_lost_nothing_is_kept(
    two: tuple[Process, Process], redis_server: RedisServer
) -> None:
    await fill(two[0])
    await two[0].until_kept()
    redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: not two[0].changes.is_tracking)
    assert len(two[0].tier) == 0
    await until(lambda: two[0].changes.is_tracking)
    await two[0].until_kept()


async def test_a_silent_connection_is_given_up() -> None:
    with RedisServer() as server:
        async with Redis.from_url(server.url) as client, process(client, silence=0.05) as one:
            server.pause()
            await until(lambda: not one.changes.is_tracking)
            server.resume()
            await until(lambda: one.changes.is_tracking)


async def test_a_demoted_primary_is_tracked_anew() -> None:
    with RedisServer() as server:
        async with Redis.from_url(server.url) as client, process(client) as one:
            before = one.tracking._tracked[""]
            server.command("REPLICAOF", LOOPBACK, 1)
            assert not await one.engine.evict([TARGET.entry], [])
            assert one.tracking._tracked.get("") is not before
            await until(lambda: one.changes.is_tracking)


@pytest.mark.parametrize("rights", ["-client", "-subscribe", "resetchannels"])
async def test_a_server_that_refuses_turns_it_off_with_one_warning(
    redis_server: RedisServer, redis_url: str, rights: str, caplog: pytest.LogCaptureFixture
) -> None:
    redis_server.command(
        *("ACL", "SETUSER", "limited", "reset", "on", ">pass", "~*", "&*", "+@all", rights)
    )
    async with Redis.from_url(redis_url, username="limited", password="pass") as client:
        await assert_off_with_one_warning(client, caplog)


async def test_a_server_that_refused_tracking_is_tried_again(
    redis_server: RedisServer, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    user = ("ACL", "SETUSER", "limited")
    redis_server.command(*user, "reset", "on", ">pass", "~*", "&*", "+@all", "-client")
    changes, asked = Changes(), list[float]()

    async def grant(seconds: float) -> None:
        asked.append(seconds)
        if len(asked) == 3:
            redis_server.command(*user, "+client")
        await asyncio.sleep(0)

    async with Redis.from_url(redis_url, username="limited", password="pass") as client:
        tracking = Tracking(client, changes, prefix=PREFIX, name="here", sleep=grant)
        tracking.start()
        await until(lambda: changes.is_tracking)
        await tracking.aclose()
    begins = ("nothing is kept in this process: ", "entries are kept in this process: ")
    for record, begin in zip(caplog.records, begins, strict=True):
        assert record.message.startswith(begin)
    assert asked == [15.0] * 3


async def test_fakeredis_turns_it_off_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with FakeAsyncRedis(server=FakeServer()) as client:
        await assert_off_with_one_warning(client, caplog)


async def assert_off_with_one_warning(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with process(client, tracks=False) as one:
        with caplog.at_level(logging.WARNING):
            one.tracking.start()
            await until(lambda: bool(caplog.records))
            await fill(one)
            assert isinstance(await one.engine.look_up(TARGET, local=True), Hit)
            assert one.engine.recall(TARGET) is None
    (record,) = caplog.records
    assert record.message.startswith("nothing is kept in this process: Redis at here")


# -- a cluster


@pytest.fixture(scope="module")
def cluster() -> Any:
    with RedisCluster3() as nodes:
        yield nodes


async def test_in_a_cluster_every_primary_must_be_tracked(cluster: RedisCluster3) -> None:
    cluster.flush()
    targets = [Target(digest([str(n)]), (EPOCH,), b"shape--1") for n in range(6)]
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(RedisCluster.from_url(cluster.url))
        one = await stack.enter_async_context(process(client))
        for target in targets:
            await fill(one, target)
        for node in cluster.nodes:
            for target in targets:
                await one.until_kept(target)
            assert len(one.tier) == len(targets)
            node.command("CLIENT", "KILL", "TYPE", "pubsub")
            await until(lambda: len(one.tier) == 0)
            await until(lambda: one.changes.is_tracking)


@pytest.mark.parametrize("told", [True, False])
async def test_a_redirected_read_is_not_kept(cluster: RedisCluster3, told: bool) -> None:
    cluster.flush()
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(RedisCluster.from_url(cluster.url))
        one = await stack.enter_async_context(process(client, told=told))
        await fill(one)
        await one.until_kept()
        stack.enter_context(moved(cluster, KEY))
        await until(lambda: one.engine.recall(TARGET) is None)
        assert isinstance(await one.engine.look_up(TARGET, local=True), Hit)
        assert (one.engine.recall(TARGET) is None) == told
        await until(lambda: one.changes.is_tracking)
        await one.until_kept()


@contextmanager
def moved(cluster: RedisCluster3, key: bytes) -> Iterator[None]:
    """The slot of a key is at another node than before."""
    slot = int(cluster.nodes[0].command("CLUSTER", "KEYSLOT", key.decode()))
    old = owner(cluster, slot)
    new = next(node for node in cluster.nodes if node is not old)
    move(cluster, slot, old, new)
    yield
    move(cluster, slot, new, old)


# -- waiting


async def test_a_waiter_is_woken_by_the_fill_of_another_process(
    two: tuple[Process, Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redis_fastapi._engine.waiting._LONGEST_POLL_SECONDS", 60.0)
    first, second = two
    led = await first.engine.look_up(TARGET)
    assert isinstance(led, Miss)
    waiting = asyncio.create_task(second.engine.look_up(TARGET))
    await until(lambda: bool(second.changes._awaited))
    await led.lease.fill(entry(first.engine), 60_000)
    followed = await asyncio.wait_for(waiting, 4.0)
    assert isinstance(followed, Hit)
    assert followed.collapsed


async def test_control_without_tracking_only_the_next_poll_finds_the_fill(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redis_fastapi._engine.waiting._SHORTEST_POLL_SECONDS", 60.0)
    monkeypatch.setattr("redis_fastapi._engine.waiting._LONGEST_POLL_SECONDS", 60.0)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(process(redis_client))
        second = await stack.enter_async_context(process(redis_client, tracks=False))
        led = await first.engine.look_up(TARGET)
        assert isinstance(led, Miss)
        waiting = asyncio.create_task(second.engine.look_up(TARGET))
        await until(lambda: len(second.engine._waiters) == 1)
        await led.lease.fill(entry(first.engine), 60_000)
        await first.until_kept()
        assert not waiting.done()
        waiting.cancel()


# -- an application


@pytest.mark.parametrize(
    ("setting", "marker", "kept"),
    [(True, None, True), (True, False, False), (False, None, False), (False, True, True)],
)
async def test_the_marker_wins_over_the_setting(
    redis_server: RedisServer, redis_url: str, setting: bool, marker: bool | None, kept: bool
) -> None:
    settings = RedisSettings(url=redis_url, local_cache=setting, startup_checks=False, deadline=5.0)
    app, runs = new_app(using=settings), Runs()

    @app.get("/")
    async def read() -> Annotated[int, Cached(ttl=60, group="g", local=marker)]:
        return runs.note()

    @app.delete("/")
    async def delete() -> Annotated[None, CacheEvict(group="g")]: ...

    async with serving(app) as client:
        for turn in (1, 2):
            assert state_of(await client.get("/")) == "MISS"
            await until_kept(app, client) if kept else None
            asked = times_asked(redis_server)
            answers = [await client.get("/") for _ in range(3)]
            assert [(state_of(one), one.json()) for one in answers] == [("HIT", turn)] * 3
            assert times_asked(redis_server) - asked == (0 if kept else 3)
            await client.delete("/")


async def test_listeners_see_a_local_hit_and_no_operation_on_redis(redis_url: str) -> None:
    app = new_app(using=RedisSettings(url=redis_url, local_cache=True, deadline=5.0))
    heard: list[Event] = []
    FastAPIRedis(app).listen(heard.append)

    @app.get("/")
    async def read() -> Annotated[int, Cached(ttl=60)]:
        return 1

    async with serving(app) as client:
        await until_kept(app, client)
        heard.clear()
        # a new question is answered by assembling, the same one again by what was prepared
        for _ in range(2):
            await client.get("/", headers={"if-none-match": '"another"'})
        kept = heard.copy()
        runtime(app)._changes.all_changed()
        await client.get("/")

    told = [event for event in heard if isinstance(event, Answered)]
    assert kept == told[:2]
    assert [(one.state, one.local) for one in told] == [("HIT", True)] * 2 + [("HIT", False)]


async def test_entries_of_the_embedded_redis_are_not_kept_twice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_app(using=RedisSettings(url="memory://", local_cache=True))
    with caplog.at_level(logging.WARNING):
        async with serving(app):
            assert not runtime(app).keeps
    assert "memory:// is in this process already: nothing is kept beside it" in caplog.messages


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[AsyncClient]:
    async with app.router.lifespan_context(app), calling(app) as client:
        if runtime(app).keeps:
            await until(lambda: runtime(app)._changes.is_tracking)
        yield client


def runtime(app: FastAPI) -> Runtime:
    found: Runtime = getattr(app.state, STATE)
    return found


async def until_kept(app: FastAPI, client: AsyncClient) -> None:
    """GET until the process keeps the entry: the fill's own notification may come in between."""
    engine = runtime(app).engine_on(runtime(app).client)
    for _ in range(1_000):
        await client.get("/")
        if len(engine._local):
            return
        await asyncio.sleep(0.005)
    raise TimeoutError


def times_asked(server: RedisServer) -> int:
    calls = server.command("INFO", "commandstats").get("cmdstat_mget", {"calls": 0})["calls"]
    return int(calls)
