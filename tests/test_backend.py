"""The cache by hand: typed values, groups shared with endpoints, single flight, threads."""

import asyncio
import multiprocessing
import threading
from collections.abc import AsyncIterator, Callable
from datetime import date, timedelta
from typing import Annotated, Any
from uuid import UUID

import pytest
import pytest_asyncio
from fakeredis import FakeAsyncRedis, FakeServer
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from redis.asyncio import Redis

from redis_fastapi import (
    CacheBackend,
    CacheBackendDep,
    Cached,
    CacheEvict,
    RedisSettings,
    SyncCacheBackend,
    SyncCacheBackendDep,
    cache,
)
from redis_fastapi.testing import MemoryCache
from servers import free_port
from support import Body, Runs, keys_of, new_app, serving, settings, state_of


class Product(BaseModel):
    id: int
    name: str


class Priced(Product):
    price: int


ONE = Product(id=1, name="one")
DAY_MS = 24 * 60 * 60 * 1_000


def backend_on(client: Redis, *, eviction_group: str = "", **changes: Any) -> CacheBackend:
    return CacheBackend(client, eviction_group=eviction_group, settings=settings(**changes))


@pytest_asyncio.fixture
async def backend(any_client: Redis) -> AsyncIterator[CacheBackend]:
    found = backend_on(any_client)
    yield found
    await found.engine.aclose()


@pytest_asyncio.fixture
async def away() -> AsyncIterator[CacheBackend]:
    """A backend whose Redis does not reply."""
    async with Redis(port=free_port()) as client:
        found = backend_on(client, deadline=0.5)
        yield found
        await found.engine.aclose()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "redis_fastapi"]


# -- values


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (ONE, Product),
        ([ONE, ONE], list[Product]),
        ({"a": ONE}, dict[str, Product]),
        (date(2024, 2, 29), date),
        (UUID(int=7), UUID),
        (b"bytes", bytes),
        ("text", str),
        (1.5, float),
        (None, type(None)),
        ({1, 2}, set[int]),
        ((1, "a"), tuple[int, str]),
        ({1: "a"}, dict[int, str]),
        (Priced(id=1, name="one", price=3), Priced),
        ([ONE], list[Annotated[Product, {"not": "hashable"}]]),
    ],
    ids=lambda value: str(value)[:24],
)
async def test_a_value_comes_back_as_its_type(backend: CacheBackend, value: Any, kind: Any) -> None:
    await backend.set("key", value)
    found = await backend.get("key", type=kind, default="missing")
    assert found == value
    assert type(found) is type(value)


async def test_without_a_type_a_value_comes_back_as_json_data(backend: CacheBackend) -> None:
    await backend.set("key", ONE)
    assert await backend.get("key") == {"id": 1, "name": "one"}


@pytest.mark.parametrize("value", [None, 0, False, "", [], {}])
async def test_a_falsy_value_is_a_hit(backend: CacheBackend, value: Any) -> None:
    await backend.set("key", value)
    assert await backend.get("key", default="missing") == value
    assert await backend.has("key")


async def test_a_missing_key_gives_the_default(backend: CacheBackend) -> None:
    assert await backend.get("key") is None
    assert await backend.get("key", default=7) == 7
    assert await backend.get("key", type=Product, default=ONE) is ONE
    assert not await backend.has("key")


async def test_the_last_value_set_wins(backend: CacheBackend) -> None:
    await backend.set("key", 1)
    await backend.set("key", 2)
    assert await backend.get("key") == 2


async def test_two_keys_and_two_groups_are_apart(backend: CacheBackend) -> None:
    await backend.set("key", 1)
    await backend.set("other", 2)
    await backend.set("key", 3, eviction_group="g")
    assert await backend.get("key") == 1
    assert await backend.get("other") == 2
    assert await backend.get("key", eviction_group="g") == 3


async def test_the_group_of_the_backend_is_that_of_its_calls(fake_client: Redis) -> None:
    named, bare = backend_on(fake_client, eviction_group="g"), backend_on(fake_client)
    await named.set("key", 1)
    assert await bare.get("key") is None
    assert await bare.get("key", eviction_group="g") == 1
    assert await named.get("key", eviction_group="") is None


@pytest.mark.parametrize(
    ("stored", "problem"),
    [({"id": 1}, "name: Field required"), ("text", "value: "), ({"id": "x", "name": ""}, "id: ")],
)
async def test_a_value_that_no_longer_fits_the_type_is_a_logged_miss(
    backend: CacheBackend, caplog: pytest.LogCaptureFixture, stored: Any, problem: str
) -> None:
    await backend.set("key", stored)
    assert await backend.get("key", type=Product, default=ONE) is ONE
    (message,) = warnings_of(caplog)
    assert "'key'" in message
    assert problem in message


async def test_the_log_of_a_misfit_does_not_show_the_value(
    backend: CacheBackend, caplog: pytest.LogCaptureFixture
) -> None:
    await backend.set("key", {"id": "very-secret", "name": "x"})
    await backend.get("key", type=Product)
    assert "very-secret" not in caplog.text


async def test_a_value_that_is_no_json_cannot_be_stored(backend: CacheBackend) -> None:
    with pytest.raises(TypeError):
        await backend.set("key", object())
    assert not await backend.has("key")


async def test_a_value_over_the_limit_cannot_be_stored(fake_client: Redis) -> None:
    small = backend_on(fake_client, max_body_size=10)
    with pytest.raises(ValueError, match="REDIS_MAX_BODY_SIZE"):
        await small.set("key", "x" * 20)


@pytest.mark.parametrize("damage", [b"", b"noise", b'{"id": 1}'])
async def test_a_damaged_value_is_a_miss(any_client: Redis, damage: bytes) -> None:
    backend = backend_on(any_client)
    await backend.set("key", ONE)
    (key,) = await keys_of(any_client, "e:")
    await any_client.set(key, damage)
    assert await backend.get("key", default="missing") == "missing"
    assert not await backend.has("key")


# -- lifetimes


@pytest.mark.parametrize(
    ("ttl", "least", "most"),
    [
        (60, 50_000, 60_000),
        (timedelta(minutes=2), 110_000, 120_000),
        (timedelta(days=2), DAY_MS, 2 * DAY_MS),
        (None, 20_000, 30_000),
        (0, 29 * DAY_MS, 30 * DAY_MS),
        (timedelta(0), 29 * DAY_MS, 30 * DAY_MS),
    ],
    ids=str,
)
async def test_a_value_expires_after_its_ttl(
    any_client: Redis, ttl: Any, least: int, most: int
) -> None:
    backend = backend_on(any_client, default_ttl=30)
    await backend.set("key", 1, ttl=ttl)
    (key,) = await keys_of(any_client, "e:")
    assert least <= await any_client.pttl(key) <= most


async def test_a_lifetime_below_a_millisecond_is_not_forever(any_client: Redis) -> None:
    backend = backend_on(any_client)
    await backend.set("key", 1, ttl=timedelta(microseconds=100))
    for key in await keys_of(any_client, "e:"):
        assert await any_client.pttl(key) < 1_000


@pytest.mark.parametrize("ttl", [-1, timedelta(seconds=-1), "60", True])
async def test_an_invalid_lifetime_is_refused(backend: CacheBackend, ttl: Any) -> None:
    with pytest.raises(ValueError, match="ttl="):
        await backend.set("key", 1, ttl=ttl)


# -- evictions


async def test_a_deleted_key_is_missing(backend: CacheBackend) -> None:
    await backend.set("key", 1)
    await backend.set("other", 2)
    assert await backend.delete("key") is True
    assert await backend.get("key") is None
    assert await backend.get("other") == 2
    assert await backend.delete("key") is True


async def test_a_deleted_group_is_missing_and_others_stay(backend: CacheBackend) -> None:
    for key in "abc":
        await backend.set(key, 1, eviction_group="g")
    await backend.set("a", 2, eviction_group="h")
    await backend.set("a", 3)
    assert await backend.delete_group("g") is True
    assert [await backend.has(key, eviction_group="g") for key in "abc"] == [False] * 3
    assert await backend.get("a", eviction_group="h") == 2
    assert await backend.get("a") == 3


async def test_deleting_no_group_deletes_everything(backend: CacheBackend) -> None:
    await backend.set("a", 1, eviction_group="g")
    await backend.set("a", 1)
    await backend.delete_group()
    assert not await backend.has("a")
    assert not await backend.has("a", eviction_group="g")


async def test_deleting_the_group_of_the_backend_leaves_the_rest(fake_client: Redis) -> None:
    named, bare = backend_on(fake_client, eviction_group="g"), backend_on(fake_client)
    await named.set("a", 1)
    await bare.set("a", 1)
    await named.delete_group()
    assert (await named.has("a"), await bare.has("a")) == (False, True)


async def test_a_value_set_after_its_group_was_deleted_is_there(backend: CacheBackend) -> None:
    await backend.set("a", 1, eviction_group="g")
    await backend.delete_group("g")
    await backend.set("a", 2, eviction_group="g")
    assert await backend.get("a", eviction_group="g") == 2


# -- get_or_set


async def test_a_factory_runs_on_a_miss_only(backend: CacheBackend) -> None:
    runs = Runs()
    for _ in range(3):
        assert await backend.get_or_set("key", lambda: runs.note(), ttl=60) == 1


async def test_an_async_factory_is_awaited(backend: CacheBackend) -> None:
    async def make() -> Product:
        return ONE

    assert await backend.get_or_set("key", make, type=Product) is ONE
    assert await backend.get_or_set("key", make, type=Product) == ONE


async def test_a_computed_value_expires_after_its_ttl(any_client: Redis) -> None:
    backend = backend_on(any_client)
    await backend.get_or_set("key", lambda: 1, ttl=timedelta(minutes=1))
    (key,) = await keys_of(any_client, "e:")
    assert 50_000 < await any_client.pttl(key) <= 60_000


@pytest.mark.parametrize("make", [None, 0, ""])
async def test_a_computed_value_that_is_false_is_stored(backend: CacheBackend, make: Any) -> None:
    runs = Runs()

    def factory() -> Any:
        runs.note()
        return make

    assert await backend.get_or_set("key", factory) == make
    assert await backend.get_or_set("key", factory) == make
    assert len(runs) == 1


async def test_an_error_of_a_factory_reaches_the_caller_and_stores_nothing(
    backend: CacheBackend,
) -> None:
    def fail() -> Any:
        raise LookupError("no such product")

    with pytest.raises(LookupError, match="no such product"):
        await backend.get_or_set("key", fail)
    assert not await backend.has("key")
    assert await backend.get_or_set("key", lambda: 2) == 2


async def test_a_stored_value_that_does_not_fit_is_computed_again(backend: CacheBackend) -> None:
    await backend.set("key", {"id": 1})
    assert await backend.get_or_set("key", lambda: ONE, type=Product) is ONE
    assert await backend.get("key", type=Product) == ONE


async def test_many_tasks_run_one_factory(backend: CacheBackend) -> None:
    runs = Runs()
    go = asyncio.Event()

    async def slow() -> int:
        await go.wait()
        return runs.note()

    tasks = [asyncio.create_task(backend.get_or_set("key", slow)) for _ in range(50)]
    await asyncio.sleep(0.05)
    go.set()
    assert set(await asyncio.gather(*tasks)) == {1}
    assert len(runs) == 1


async def test_different_keys_do_not_wait_for_each_other(backend: CacheBackend) -> None:
    held = asyncio.Event()
    started = asyncio.Event()

    async def slow() -> int:
        started.set()
        await held.wait()
        return 1

    waiting = asyncio.create_task(backend.get_or_set("slow", slow))
    await started.wait()
    assert await backend.get_or_set("fast", lambda: 2) == 2
    held.set()
    assert await waiting == 1


async def test_after_a_failed_factory_the_next_waiter_runs_its_own(backend: CacheBackend) -> None:
    started, go = asyncio.Event(), asyncio.Event()

    async def fail() -> int:
        started.set()
        await go.wait()
        raise LookupError

    leader = asyncio.create_task(backend.get_or_set("key", fail))
    await started.wait()
    waiter = asyncio.create_task(backend.get_or_set("key", lambda: 2))
    await asyncio.sleep(0.02)
    go.set()
    with pytest.raises(LookupError):
        await leader
    assert await waiter == 2


async def test_a_cancelled_factory_hands_over(backend: CacheBackend) -> None:
    started = asyncio.Event()

    async def forever() -> int:
        started.set()
        await asyncio.Event().wait()
        return 1

    leader = asyncio.create_task(backend.get_or_set("key", forever))
    await started.wait()
    waiter = asyncio.create_task(backend.get_or_set("key", lambda: 2))
    await asyncio.sleep(0.02)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    assert await waiter == 2


async def test_an_eviction_during_the_factory_wins(backend: CacheBackend) -> None:
    async def evicted_meanwhile() -> int:
        await backend.delete_group("g")
        return 1

    assert await backend.get_or_set("key", evicted_meanwhile, eviction_group="g") == 1
    assert not await backend.has("key", eviction_group="g")


async def test_a_delete_during_the_factory_wins(backend: CacheBackend) -> None:
    async def deleted_meanwhile() -> int:
        await backend.delete("key")
        return 1

    assert await backend.get_or_set("key", deleted_meanwhile) == 1
    assert not await backend.has("key")


async def test_a_value_set_during_the_factory_stays(backend: CacheBackend) -> None:
    async def overtaken() -> int:
        await backend.set("key", 2)
        return 1

    assert await backend.get_or_set("key", overtaken) == 1
    assert await backend.get("key") == 2


async def test_two_clients_run_one_factory(redis_url: str) -> None:
    runs = Runs()
    async with Redis.from_url(redis_url) as one, Redis.from_url(redis_url) as other:
        backends = [backend_on(one), backend_on(other)]
        started, go = asyncio.Event(), asyncio.Event()

        async def slow() -> int:
            started.set()
            await go.wait()
            return runs.note()

        leader = asyncio.create_task(backends[0].get_or_set("key", slow))
        await started.wait()
        followers = [asyncio.create_task(backends[1].get_or_set("key", slow)) for _ in range(9)]
        await asyncio.sleep(0.05)
        go.set()
        assert await asyncio.gather(leader, *followers) == [1] * 10
        assert len(runs) == 1
        for backend in backends:
            await backend.engine.aclose()


async def test_a_deletion_that_its_replicas_do_not_have_is_not_confirmed(
    redis_client: Redis,
) -> None:
    backend = backend_on(redis_client, wait_replicas=1)
    assert not await backend.delete("key")
    assert not await backend.delete_group("products")
    await backend.engine.aclose()


async def test_the_lease_of_a_factory_lives_as_long_as_the_settings_say(
    redis_client: Redis,
) -> None:
    backend = backend_on(redis_client, lease_ttl=1_000)

    async def milliseconds_left() -> int:
        (lease,) = await keys_of(redis_client, "l:")
        return await redis_client.pttl(lease)

    assert await backend.get_or_set("key", milliseconds_left) > 900_000
    await backend.engine.aclose()


async def test_a_caller_that_may_not_wait_runs_its_own_factory(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as one, Redis.from_url(redis_url) as other:
        leader, hasty = backend_on(one), backend_on(other, wait_max=0)

        async def overtaken() -> str:
            return await asyncio.wait_for(hasty.get_or_set("key", lambda: "hasty"), 3)

        assert await leader.get_or_set("key", overtaken) == "hasty"
        for backend in (leader, hasty):
            await backend.engine.aclose()


def compute_in_a_process(url: str, barrier: Any, results: Any) -> None:
    """Ask for one value; every run of the factory is counted on the server."""

    async def ask() -> tuple[int, int]:
        async with Redis.from_url(url) as client:
            backend = backend_on(client)

            async def counted() -> int:
                run = int(await client.incr("runs"))
                await asyncio.sleep(0.2)
                return run

            values = [backend.get_or_set("key", counted) for _ in range(5)]
            found = await asyncio.gather(*values)
            await backend.engine.aclose()
            return min(found), max(found)

    barrier.wait()
    results.put(asyncio.run(ask()))


async def test_two_processes_run_one_factory(redis_url: str, redis_client: Redis) -> None:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [
        context.Process(target=compute_in_a_process, args=(redis_url, barrier, results))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    found = [await asyncio.to_thread(results.get, True, 60) for _ in processes]
    for process in processes:
        await asyncio.to_thread(process.join, 60)
    assert found == [(1, 1), (1, 1)]
    assert await redis_client.get("runs") == b"1"


# -- Redis is away


async def test_without_redis_nothing_is_found_and_nothing_fails(
    away: CacheBackend, caplog: pytest.LogCaptureFixture
) -> None:
    assert await away.get("key", default=7) == 7
    assert await away.has("key") is False
    await away.set("key", 1)
    assert await away.delete("key") is False
    assert await away.delete_group("g") is False
    assert any("not stored" in message for message in warnings_of(caplog))


async def test_a_value_that_could_not_be_set_does_not_leave_the_older_one() -> None:
    with MemoryCache() as memory:
        backend = memory.backend(settings())
        await backend.set("key", "older")
        with memory.outage():
            await backend.set("key", "newer")
        assert await backend.get("key") is None
        await backend.engine.aclose()


async def test_without_redis_a_factory_runs_every_time(away: CacheBackend) -> None:
    runs = Runs()
    assert [await away.get_or_set("key", runs.note) for _ in range(2)] == [1, 2]


async def test_without_redis_an_error_of_a_factory_reaches_the_caller(away: CacheBackend) -> None:
    def fail() -> Any:
        raise LookupError

    with pytest.raises(LookupError):
        await away.get_or_set("key", fail)


# -- with the endpoints of an application


def app_with_backend() -> FastAPI:
    app = new_app()

    @app.get("/products")
    async def products() -> Annotated[Body, Cached(60, group="products")]:
        return {}

    @app.get("/dependency", dependencies=[Depends(cache(60, eviction_group="products"))])
    async def by_dependency() -> Body:
        return {}

    @app.delete("/products")
    async def drop() -> Annotated[None, CacheEvict(group="products")]:
        return None

    @app.get("/keep")
    async def keep(backend: CacheBackendDep) -> Any:
        found = await backend.get("kept", default="missing", eviction_group="products")
        await backend.set("kept", "value", eviction_group="products")
        return found

    @app.post("/clear")
    async def clear(backend: CacheBackendDep, group: str | None = None) -> bool:
        return await backend.delete_group(group)

    return app


def test_an_eviction_by_an_endpoint_reaches_the_values_of_its_group() -> None:
    with serving(app_with_backend()) as client:
        assert [client.get("/keep").json() for _ in range(2)] == ["missing", "value"]
        client.delete("/products")
        assert client.get("/keep").json() == "missing"


@pytest.mark.parametrize(
    ("group", "state"), [("products", "MISS"), ("other", "HIT"), (None, "MISS")]
)
def test_an_eviction_by_the_backend_reaches_the_endpoints_of_the_group(
    group: str | None, state: str
) -> None:
    with serving(app_with_backend()) as client:
        for path in ("/products", "/dependency"):
            client.get(path)
            assert state_of(client.get(path)) == "HIT"
        assert client.post("/clear", params={"group": group} if group else {}).json() is True
        assert [state_of(client.get(path)) for path in ("/products", "/dependency")] == [state] * 2


def test_the_backend_of_an_application_uses_its_prefix() -> None:
    async def names(settings: RedisSettings) -> list[bytes]:
        async with FakeAsyncRedis(server=FakeServer()) as client:
            backend = CacheBackend(client, settings=settings)
            await backend.set("key", 1)
            return await keys_of(client)

    found = asyncio.run(names(settings(prefix="mine")))
    assert found
    assert all(key.startswith(b"mine:") for key in found)


# -- from worker threads


def sync_app(act: Callable[[SyncCacheBackend], Any]) -> FastAPI:
    app = new_app()

    @app.get("/x")
    def endpoint(backend: SyncCacheBackendDep) -> Any:
        return {"thread": threading.current_thread().name, "found": act(backend)}

    return app


def found_by(act: Callable[[SyncCacheBackend], Any]) -> Any:
    with serving(sync_app(act)) as client:
        return client.get("/x").json()["found"]


def test_every_method_works_from_a_worker_thread() -> None:
    def use(backend: SyncCacheBackend) -> Any:
        backend.set("key", ONE, ttl=60)
        backend.set("grouped", 1, ttl=timedelta(seconds=60), eviction_group="g")
        found = backend.get("key", type=Product)
        return [
            found == ONE,
            backend.get("key"),
            backend.get("missing", default=7),
            backend.has("key"),
            backend.delete("key"),
            backend.has("key"),
            backend.delete_group("g"),
            backend.has("grouped", eviction_group="g"),
        ]

    expected = [True, {"id": 1, "name": "one"}, 7, True, True, False, True, False]
    assert found_by(use) == expected


def test_get_or_set_runs_its_factory_in_the_calling_thread() -> None:
    def use(backend: SyncCacheBackend) -> Any:
        here = threading.get_ident()
        made = backend.get_or_set("key", lambda: threading.get_ident() == here)
        again = backend.get_or_set("key", lambda: "not called")
        return [made, again]

    assert found_by(use) == [True, True]


def test_an_error_of_a_factory_reaches_the_calling_thread() -> None:
    def fail() -> Any:
        raise LookupError

    def use(backend: SyncCacheBackend) -> Any:
        try:
            backend.get_or_set("key", fail)
        except LookupError:
            return backend.get_or_set("key", lambda: "made after")
        return "no error"

    assert found_by(use) == "made after"


def test_a_stored_value_that_does_not_fit_is_computed_again_in_a_thread() -> None:
    def use(backend: SyncCacheBackend) -> Any:
        backend.set("key", {"id": 1})
        return backend.get_or_set("key", lambda: ONE, type=Product).name

    assert found_by(use) == "one"


def test_many_threads_run_one_factory() -> None:
    runs = Runs()
    app = new_app()
    arrived = threading.Barrier(5)

    @app.get("/x")
    def endpoint(backend: SyncCacheBackendDep) -> int:
        arrived.wait(30)
        return backend.get_or_set("key", runs.note)

    with serving(app) as client:
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda: answers.append(client.get("/x").json()))
            for _ in range(5)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert answers == [1] * 5
    assert len(runs) == 1


async def test_outside_of_a_worker_thread_it_is_an_error(fake_client: Redis) -> None:
    backend = SyncCacheBackend(backend_on(fake_client))
    with pytest.raises(RuntimeError):
        backend.get("key")
