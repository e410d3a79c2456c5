"""Clients that every test module shares: on a real redis-server and on fakeredis."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import redis.asyncio
from fakeredis import FakeAsyncRedis, FakeServer
from hypothesis import settings

from servers import RedisCluster3, RedisServer, redis_server_available
from store_contract import VARIANTS, Variant, opened, variant_of

# how long an example takes says nothing on a busy machine
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# collecting thousands of tests makes no garbage, and looking for it takes a quarter of the time
gc.disable()

SLOWEST_FIRST = (
    *("test_engine.py", "test_mypy_promises.py", "test_topologies.py", "test_docs.py"),
    *("test_mypy_incremental.py", "test_mypy_cases.py", "test_peers.py", "test_outages.py"),
    *("test_keys.py", "test_safety.py", "test_workers.py", "test_race.py", "test_shop_page.py"),
    *("test_store.py", "test_soft_eviction.py", "test_cli.py", "test_pool.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: no worker is left alone with one in the end."""
    order = {name: place for place, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


def pytest_collection_finish() -> None:
    """Exempt what collecting made from every later search for garbage."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One real server for the session; tests that stop a server start their own."""
    if reason := redis_server_available():
        pytest.skip(reason)
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """URL of the session's server, emptied before the test."""
    redis_server.flush()
    return redis_server.url


@pytest_asyncio.fixture
async def redis_client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """A client on the emptied real server."""
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        yield client


@pytest_asyncio.fixture
async def fake_client() -> AsyncIterator[redis.asyncio.Redis]:
    """A client on an embedded server that no other test sees."""
    async with FakeAsyncRedis(server=FakeServer()) as client:
        yield client


@pytest_asyncio.fixture(params=["fakeredis", "redis"])
async def any_client(request: pytest.FixtureRequest) -> AsyncIterator[redis.asyncio.Redis]:
    """The same test on fakeredis and on a real server."""
    if request.param == "fakeredis":
        async with FakeAsyncRedis(server=FakeServer()) as client:
            yield client
        return
    async with redis.asyncio.Redis.from_url(request.getfixturevalue("redis_url")) as client:
        yield client


@pytest.fixture(scope="module")
def redis_cluster() -> Iterator[RedisCluster3]:
    """Three primaries for a module; a test empties them for itself."""
    if reason := redis_server_available():
        pytest.skip(reason)
    with RedisCluster3() as cluster:
        yield cluster


@pytest_asyncio.fixture(params=VARIANTS)
async def variant(request: pytest.FixtureRequest) -> AsyncIterator[Variant]:
    """The same test on every Redis that store and engine are tested on."""
    async with opened(variant_of(request.param, request.getfixturevalue)) as ready:
        yield ready
