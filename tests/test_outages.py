"""Everything Redis does when it is not well, with real servers: the application serves, and notices
when it is over.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Annotated, Any

import pytest
import redis
from fastapi import FastAPI
from httpx import AsyncClient

from outages.proxy import Proxy
from redis_fastapi import Cached, CacheEvict, FastAPIRedis, RedisSettings
from servers import (
    LOOPBACK,
    RedisCluster3,
    RedisServer,
    Sentinel,
    free_port,
    redis_server_available,
)
from support import Runs, calling, state_of

DEADLINE = 0.4
REQUESTS = 6
GROUPS = ("items", "item:{number}")

pytestmark = pytest.mark.skipif(bool(redis_server_available()), reason="needs a redis-server")


class Trouble:
    """One server, and what goes wrong with it.

    Attributes:
        states: What a GET may be answered with meanwhile.
        outage: Whether this server counts as away meanwhile.
    """

    states = frozenset({"BYPASS"})
    outage = True

    def __init__(self, server: RedisServer, stack: AsyncExitStack) -> None:
        self.server = server
        self.stack = stack

    async def url(self) -> str:
        return self.server.url

    async def begin(self) -> None:
        raise NotImplementedError

    async def end(self) -> None:
        raise NotImplementedError


class Killed(Trouble):
    async def begin(self) -> None:
        self.server.kill()

    async def end(self) -> None:
        self.server.start()


class Hung(Trouble):
    async def begin(self) -> None:
        self.server.pause()

    async def end(self) -> None:
        self.server.resume()


class Distant(Trouble):
    """Behind a proxy."""

    async def url(self) -> str:
        self.proxy = await self.stack.enter_async_context(Proxy(self.server.port))
        return f"redis://{LOOPBACK}:{self.proxy.port}/0"


class Slow(Distant):
    async def begin(self) -> None:
        self.proxy.delay = 3 * DEADLINE

    async def end(self) -> None:
        self.proxy.delay = 0.0


class ALittleSlow(Distant):
    states = frozenset({"HIT"})
    outage = False

    async def begin(self) -> None:
        self.proxy.delay = DEADLINE / 20

    async def end(self) -> None:
        self.proxy.delay = 0.0


class BlackHoled(Distant):
    async def begin(self) -> None:
        self.proxy.silent = True

    async def end(self) -> None:
        self.proxy.silent = False


class OutOfMemory(Trouble):
    states = frozenset({"HIT"})
    outage = False

    async def begin(self) -> None:
        self.server.command("CONFIG", "SET", "maxmemory", 1)

    async def end(self) -> None:
        self.server.command("CONFIG", "SET", "maxmemory", 0)


class Demoted(Trouble):
    # Reads go on until a write is refused.
    states = frozenset({"HIT", "BYPASS"})

    async def begin(self) -> None:
        self.server.command("REPLICAOF", LOOPBACK, free_port())

    async def end(self) -> None:
        self.server.command("REPLICAOF", "NO", "ONE")


class WithoutRight(Trouble):
    outage = False
    right: str

    async def url(self) -> str:
        self.server.command("ACL", "SETUSER", "app", "on", ">right", "~*", "&*", "+@all")
        return self.server.url.replace("://", "://app:right@")

    async def begin(self) -> None:
        self.server.command("ACL", "SETUSER", "app", f"-{self.right}")

    async def end(self) -> None:
        self.server.command("ACL", "SETUSER", "app", f"+{self.right}")


class NotReading(WithoutRight):
    right = "mget"


class NotStoring(WithoutRight):
    right = "set"
    states = frozenset({"HIT"})


class NotEvicting(WithoutRight):
    right = "del"
    states = frozenset({"HIT"})


class PasswordChanged(WithoutRight):
    """Whoever is logged in stays so, and comes back with a password that is none any more."""

    outage = True

    async def begin(self) -> None:
        self.server.command("ACL", "SETUSER", "app", "resetpass", ">another")
        self.server.command("CLIENT", "KILL", "USER", "app")

    async def end(self) -> None:
        self.server.command("ACL", "SETUSER", "app", ">right")


class Full(Trouble):
    """All connections are broken, and another client has taken the only place."""

    async def begin(self) -> None:
        self.admin = self.stack.enter_context(redis.Redis.from_url(self.server.url))
        self.admin.config_set("maxclients", 1)
        self.admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    async def end(self) -> None:
        self.admin.config_set("maxclients", 1_000)


MET = [Killed, Hung, Slow, BlackHoled, NotReading, PasswordChanged, Full]
"""Troubles that come while the application runs, and that no lookup gets through."""


def shop(runs: Runs, url: str = "", *, using: RedisSettings | None = None) -> FastAPI:
    app = FastAPI()
    settings = using or RedisSettings(url=url, deadline=DEADLINE)
    FastAPIRedis(app, settings).lifespan().caching()

    @app.get("/items/{number}")
    async def get(number: int) -> Annotated[int, Cached(ttl=60, group=GROUPS)]:
        return runs.note()

    @app.get("/others/{number}")
    async def other(number: int) -> Annotated[int, Cached(ttl=60)]:
        return runs.note()

    @app.delete("/items")
    async def delete() -> Annotated[None, CacheEvict(group="items")]:
        runs.note("delete")

    return app


@asynccontextmanager
async def troubled(kind: type[Trouble]) -> AsyncIterator[tuple[Trouble, AsyncClient, Runs]]:
    runs = Runs()
    async with AsyncExitStack() as stack:
        server = stack.enter_context(RedisServer())
        trouble = kind(server, stack)
        app = shop(runs, await trouble.url())
        await stack.enter_async_context(app.router.lifespan_context(app))
        client = await stack.enter_async_context(calling(app))
        yield trouble, client, runs


async def states(client: AsyncClient, path: str = "/items/1") -> list[str | None]:
    """The states of several requests in a row, each of which must succeed."""
    found = []
    for _ in range(REQUESTS):
        answer = await client.get(path)
        assert answer.status_code == 200
        found.append(state_of(answer))
    return found


async def until_answered(
    client: AsyncClient, state: str, path: str = "/items/1", *, seconds: float = 10.0
) -> None:
    """Asks until the cache is in a state."""
    for _ in range(round(seconds / 0.05)):
        answer = await client.get(path)
        assert answer.status_code == 200
        if state_of(answer) == state:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"it never was a {state}")


async def until_cached(
    client: AsyncClient, path: str = "/items/1", *, seconds: float = 10.0
) -> None:
    """Asks until the cache serves again."""
    await until_answered(client, "HIT", path, seconds=seconds)


def lines(caplog: pytest.LogCaptureFixture, word: str) -> int:
    return sum(word in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("kind", MET)
async def test_requests_are_served_and_the_end_is_noticed(
    kind: type[Trouble], caplog: pytest.LogCaptureFixture
) -> None:
    async with troubled(kind) as (trouble, client, runs):
        assert (await states(client))[1:] == ["HIT"] * (REQUESTS - 1)
        await trouble.begin()
        ran = len(runs)
        assert set(await states(client)) == kind.states
        assert len(runs) == ran + REQUESTS
        await trouble.end()
        await until_cached(client)
    assert lines(caplog, "is away") == lines(caplog, "is back after") == int(kind.outage)


@pytest.mark.parametrize("kind", [*MET, NotEvicting])
async def test_entries_evicted_during_an_outage_are_not_served_afterwards(
    kind: type[Trouble],
) -> None:
    async with troubled(kind) as (trouble, client, runs):
        assert (await states(client))[-1] == "HIT"
        await trouble.begin()
        await states(client)
        assert (await client.delete("/items")).status_code == 200
        ran = len(runs)
        await trouble.end()
        await until_cached(client)
        assert (await client.get("/items/1")).json() > ran


@pytest.mark.parametrize("kind", [ALittleSlow, OutOfMemory, Demoted, NotStoring, NotEvicting])
async def test_hits_go_on_where_redis_can_still_be_read(
    kind: type[Trouble], caplog: pytest.LogCaptureFixture
) -> None:
    async with troubled(kind) as (trouble, client, _):
        assert (await states(client))[-1] == "HIT"
        await trouble.begin()
        assert (await states(client))[0] == "HIT"
        assert lines(caplog, "is away") == 0
        await trouble.end()


@pytest.mark.parametrize("kind", [OutOfMemory, NotStoring])
async def test_without_the_right_to_store_evictions_go_on_and_fills_stop(
    kind: type[Trouble], caplog: pytest.LogCaptureFixture
) -> None:
    async with troubled(kind) as (trouble, client, _):
        assert (await states(client))[-1] == "HIT"
        await trouble.begin()
        assert (await client.delete("/items")).status_code == 200
        assert "HIT" not in await states(client)
        await trouble.end()
        await until_cached(client)
    assert lines(caplog, "Redis refuses lookups: ") == 1
    assert lines(caplog, "did not confirm") == 0


async def test_without_the_right_to_evict_no_evicted_entry_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with troubled(NotEvicting) as (trouble, client, _):
        paths = ["/items/1", "/others/1"]
        for path in paths:
            assert (await states(client, path))[-1] == "HIT"
        await trouble.begin()
        assert (await client.delete("/items")).status_code == 200
        assert [set(await states(client, path)) for path in paths] == [{"BYPASS"}, {"HIT"}]
        await trouble.end()
        await until_cached(client)
    assert lines(caplog, "Redis refuses evictions: ") == 1
    assert lines(caplog, "did not confirm") == lines(caplog, "confirmed the evictions") == 1


async def test_a_demoted_primary_is_dropped_at_the_first_write(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with troubled(Demoted) as (trouble, client, _):
        assert (await states(client))[-1] == "HIT"
        await trouble.begin()
        assert (await client.delete("/items")).status_code == 200
        assert set(await states(client)) == {"BYPASS"}
        await trouble.end()
        await until_cached(client)
    assert lines(caplog, "is away") == lines(caplog, "is back after") == 1


async def test_a_demoted_primary_that_is_only_read_is_dropped_at_the_next_check(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with troubled(Demoted) as (trouble, client, _):
        assert (await states(client))[-1] == "HIT"
        await trouble.begin()
        await until_answered(client, "BYPASS")
        await trouble.end()
        await until_cached(client)
    assert lines(caplog, "is away") == lines(caplog, "is back after") == 1


async def started_in_trouble(end: Callable[[], Any], **where: Any) -> None:
    runs = Runs()
    app = shop(runs, using=RedisSettings(deadline=DEADLINE, **where))
    async with app.router.lifespan_context(app), calling(app) as client:
        assert set(await states(client)) == {"BYPASS"}
        assert len(runs) == REQUESTS
        await asyncio.to_thread(end)
        await until_cached(client)


def one_server(stack: ExitStack) -> tuple[Callable[[], Any], dict[str, Any]]:
    server = RedisServer()
    stack.callback(server.close)
    return server.start, {"url": server.url}


def sentinels(stack: ExitStack) -> tuple[Callable[[], Any], dict[str, Any]]:
    servers = Sentinel(service="mymaster")
    stack.callback(servers.close)
    return servers.start, {"sentinel": True, "sentinel_nodes": (servers.node,)}


def cluster(stack: ExitStack) -> tuple[Callable[[], Any], dict[str, Any]]:
    nodes = RedisCluster3()
    stack.callback(nodes.close)
    return nodes.start, {"cluster": True, "host": LOOPBACK, "port": nodes.nodes[1].port}


@pytest.mark.parametrize("place", [one_server, sentinels, cluster])
async def test_an_application_starts_without_redis(
    place: Callable[[ExitStack], Any], caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        start, where = place(stack)
        await started_in_trouble(start, **where)
    assert lines(caplog, "is away") == lines(caplog, "is back") == 1


async def test_an_application_starts_with_a_wrong_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    user = ("ACL", "SETUSER", "app", "on", "~*", "&*", "+@all")
    with RedisServer() as server:
        server.command(*user, ">another")
        url = server.url.replace("://", "://app:password-of-ours@")
        await started_in_trouble(lambda: server.command(*user, ">password-of-ours"), url=url)
    assert lines(caplog, "is away") == lines(caplog, "is back after") == 1
    assert "password-of-ours" not in caplog.text


async def test_an_application_starts_when_the_server_takes_no_more_clients() -> None:
    with RedisServer() as server, redis.Redis.from_url(server.url) as admin:
        admin.config_set("maxclients", 1)
        await started_in_trouble(lambda: admin.config_set("maxclients", 1_000), url=server.url)
