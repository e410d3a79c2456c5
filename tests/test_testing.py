"""The cache for users' tests: its clock, its switches, what it asserts, and the plugin."""

import asyncio
import re
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import pytest
import redis.exceptions
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response

from redis_fastapi import (
    AsyncRedisDep,
    CacheBackendDep,
    Cached,
    CacheEvict,
    CachePut,
    FastAPIRedis,
    RedisSettings,
    SyncCacheBackendDep,
    get_async_redis,
    get_settings,
)
from redis_fastapi._app.runtime import STATE
from redis_fastapi.telemetry import Answered, Event
from redis_fastapi.testing import (
    MemoryCache,
    assert_bypass,
    assert_hit,
    assert_miss,
    assert_not_cached,
    assert_stale,
)
from support import Body, Runs, calling, new_app, serving, settings, state_of

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def unreachable_redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Settings of a server that is not there: what passes here needs none."""
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture
def cache() -> Iterator[MemoryCache]:
    with MemoryCache() as cache:
        yield cache


def shelf(runs: Runs | None = None, *, using: RedisSettings | None = None) -> FastAPI:
    """An application that reads, puts and evicts, set up for a server."""
    app = new_app(using=using or settings(url="redis://127.0.0.1:1"))
    noted = runs if runs is not None else Runs()
    names: dict[int, Body] = {}

    @app.get("/products/{number}")
    async def product(number: int) -> Annotated[Body, Cached(60, group="products")]:
        noted.note()
        return names.get(number, {"name": "Sencha"})

    @app.put("/products/{number}")
    async def put(number: int, body: Body) -> Annotated[Body, CachePut()]:
        names[number] = body
        return body

    @app.delete("/products/{number}")
    async def delete(number: int) -> Annotated[Body, CacheEvict(key=product)]:
        return names.pop(number, {})

    @app.delete("/products")
    async def clear() -> Annotated[Body, CacheEvict(group="products")]:
        names.clear()
        return {}

    @app.get("/search")
    async def search(q: str) -> Annotated[Body, Cached(60, group="search:{q}")]:
        return {"q": q}

    @app.delete("/search")
    async def forget(q: str) -> Annotated[Body, CacheEvict(group="search:{q}")]:
        return {}

    @app.get("/value")
    async def value(backend: CacheBackendDep) -> int:
        return await backend.get_or_set("n", lambda: noted.note("value"), ttl=60)

    @app.get("/sync-value")
    def sync_value(backend: SyncCacheBackendDep) -> int:
        return backend.get_or_set("m", lambda: noted.note("value"), ttl=60)

    @app.get("/visits")
    async def visits(client: AsyncRedisDep) -> int:
        return int(await client.incr("visits"))

    return app


# -- installing


def test_a_client_inside_of_with_is_served_from_memory(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    with serving(app) as client:
        assert_miss(client.get("/products/1"))
        assert_hit(client.get("/products/1"))


def test_a_client_outside_of_with_is_served_from_memory(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    client = TestClient(app)
    assert_miss(client.get("/products/1"))
    assert_hit(client.get("/products/1"))


async def test_a_client_on_the_loop_is_served_from_memory(cache: MemoryCache) -> None:
    runs = Runs()
    app = shelf(runs)
    cache.install(app)
    async with calling(app) as client:
        answers = await asyncio.gather(*(client.get("/products/1") for _ in range(5)))
        assert_hit(await client.get("/products/1"))
    assert len(runs) == 1
    assert {answer.status_code for answer in answers} == {200}


async def test_loop_and_threads_share_one_cache(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    async with calling(app) as client:
        assert_miss(await client.get("/products/1"))
    threaded = await asyncio.to_thread(lambda: TestClient(app).get("/products/1"))
    assert_hit(threaded)


def test_clients_and_backends_of_endpoints_are_in_memory(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    with serving(app) as client:
        for path in ("/value", "/sync-value"):
            assert client.get(path).json() == client.get(path).json()
        assert [client.get("/visits").json() for _ in range(2)] == [1, 2]
    assert cache.redis.get("visits") == b"2"


def test_overrides_are_restored() -> None:
    app = shelf()

    def own() -> None: ...

    app.dependency_overrides[get_async_redis] = own
    with MemoryCache(app), serving(app) as client:
        client.get("/products/1")
    assert app.dependency_overrides == {get_async_redis: own}


def test_no_runtime_is_left_behind() -> None:
    app = shelf()
    with MemoryCache(app):
        TestClient(app).get("/products/1")
        assert hasattr(app.state, STATE)
    assert not hasattr(app.state, STATE)


def test_installing_twice_is_undone_by_one_removal(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    cache.install(app)
    cache.remove()
    assert app.dependency_overrides == {}


def test_mounted_applications_are_served_too(cache: MemoryCache) -> None:
    outer, inner = FastAPI(), shelf()
    outer.mount("/shop", inner)
    cache.install(outer)
    client = TestClient(outer)
    assert_miss(client.get("/shop/products/1"))
    assert_hit(client.get("/shop/products/1"))
    client.delete("/shop/products/1")
    cache.assert_evicted(path="/shop/products/1")
    cache.assert_not_evicted(path="/shop/products/2")
    cache.remove()
    assert inner.dependency_overrides == {}


@pytest.mark.parametrize("attempt", [1, 2])
def test_caches_of_two_tests_share_nothing(attempt: int, cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    assert_miss(TestClient(app).get("/products/1"))
    assert attempt in (1, 2)


@pytest.mark.parametrize("place", ["inside", "outside"])
def test_the_prefix_of_the_application_is_kept(place: str, cache: MemoryCache) -> None:
    app = shelf(using=settings(url="redis://127.0.0.1:1", prefix="shelf"))
    cache.install(app)
    with serving(app) if place == "inside" else nullcontext(TestClient(app)) as client:
        client.get("/products/1")
    assert cache.redis.keys("shelf:e:*")


async def test_a_backend_serves_code_without_an_application(cache: MemoryCache) -> None:
    backend = cache.backend()
    await backend.set("n", 1, ttl=60)
    assert await backend.get("n") == 1
    assert await cache.backend().get("n") == 1


# -- the clock


def test_age_follows_the_clock_of_the_test(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    client = TestClient(app)
    client.get("/products/1")
    ages = []
    for _ in range(3):
        cache.advance(timedelta(seconds=7))
        ages.append(client.get("/products/1").headers["age"])
    assert ages == ["7", "14", "21"]


def test_an_entry_lives_until_its_ttl_and_no_longer(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    client = TestClient(app)
    client.get("/products/1")
    cache.advance(30)
    assert_hit(client.get("/products/1"))
    cache.advance(30)
    assert_miss(client.get("/products/1"))


def test_an_entry_that_is_filled_much_later_lives_until_its_ttl(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    with TestClient(app) as client:
        client.get("/products/1")
        cache.advance(timedelta(minutes=59.5))
        client.get("/products/2")
        cache.advance(45)
        assert_hit(client.get("/products/2"))


async def test_the_clock_moves_the_expiry_of_values_and_of_plain_keys(cache: MemoryCache) -> None:
    await cache.backend().set("n", 1, ttl=60)
    cache.redis.set("session", "x", ex=60)
    cache.redis.set("forever", "x")
    cache.advance(30)
    assert await cache.backend().get("n") == 1
    assert 0 < int(cache.redis.ttl("session")) <= 30
    cache.advance(30)
    assert await cache.backend().get("n") is None
    assert cache.redis.exists("session", "forever") == 1


def test_time_that_passes_in_an_endpoint_does_not_end_its_lease(cache: MemoryCache) -> None:
    app = new_app()

    @app.get("/slow")
    async def slow() -> Annotated[Body, Cached(600)]:
        cache.advance(120)
        return {}

    cache.install(app)
    client = TestClient(app)
    assert_miss(client.get("/slow"))
    assert_hit(client.get("/slow"))


def test_followers_wait_again_a_second_after_a_response_was_not_stored(cache: MemoryCache) -> None:
    app = new_app()

    @app.get("/never")
    async def never() -> Annotated[Body, Cached(60, when=lambda body: False)]:
        return {}

    cache.install(app)
    client = TestClient(app)
    client.get("/never")
    assert_bypass(client.get("/never"))
    cache.advance(2)
    assert_miss(client.get("/never"))


def test_time_does_not_go_back(cache: MemoryCache) -> None:
    with pytest.raises(ValueError, match="does not go back"):
        cache.advance(-1)


# -- switches


def test_in_an_outage_endpoints_run_and_every_command_fails(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    with serving(app) as client:
        client.get("/products/1")
        with cache.outage():
            assert_bypass(client.get("/products/1"))
            with pytest.raises(redis.exceptions.ConnectionError):
                client.get("/visits")
        assert_hit(client.get("/products/1"))
        assert client.get("/visits").json() == 1


def test_evictions_of_an_outage_are_sent_when_redis_is_back(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    with serving(app) as client:
        client.get("/products/1")
        with cache.outage():
            assert client.delete("/products/1").status_code == 200
            cache.assert_not_evicted(path="/products/1")
        assert_miss(client.get("/products/1"))


def test_a_slow_redis_executes_commands_whose_replies_are_late(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    with serving(app) as client:
        client.get("/products/1")
        with cache.slow():
            assert_bypass(client.get("/products/1"))
            assert client.delete("/products/1").status_code == 200
            with pytest.raises(redis.exceptions.TimeoutError):
                client.get("/visits")
        cache.assert_not_evicted(path="/products/1")
        assert_miss(client.get("/products/1"))
    assert cache.redis.get("visits") == b"1"


def test_switched_off_behaves_as_if_nothing_were_declared(cache: MemoryCache) -> None:
    runs = Runs()
    app = shelf(runs)
    cache.install(app)
    with serving(app) as client:
        client.get("/products/1")
        with cache.off():
            answer = client.get("/products/1")
            assert_not_cached(answer)
            assert "etag" not in answer.headers
            values = [client.get("/value").json() for _ in range(2)]
            assert values[0] != values[1]
            assert client.put("/products/1", json={"name": "new"}).status_code == 200
        assert_hit(client.get("/products/1"))


async def test_switched_off_a_backend_holds_nothing(cache: MemoryCache) -> None:
    await cache.backend().set("n", 1)
    with cache.off():
        backend = cache.backend()
        await backend.set("n", 2)
        assert await backend.get("n") is None
        assert not await backend.has("n")
        assert await backend.delete("n")
    assert await cache.backend().get("n") == 1


# -- evictions


def test_an_eviction_by_path_is_seen(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    with serving(app) as client:
        client.delete("/products/1")
        cache.assert_evicted(path="/products/1")
        cache.assert_not_evicted(path="/products/2")
        cache.assert_not_evicted(group="products")
        with pytest.raises(AssertionError, match=r"path '/products/2' was not evicted"):
            cache.assert_evicted(path="/products/2")


def test_an_eviction_by_group_is_seen_and_covers_the_paths_in_it(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    with serving(app) as client:
        client.get("/products/1")
        client.delete("/products")
    cache.assert_evicted(group="products")
    cache.assert_evicted(path="/products/1")
    with pytest.raises(AssertionError, match=r"Evicted were 0 paths and the groups 'products'"):
        cache.assert_evicted(group="search:tea")


def test_a_path_counts_only_when_all_its_variants_are_evicted(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    with serving(app) as client:
        for q in ("tea", "cup"):
            client.get("/search", params={"q": q})
        client.delete("/search", params={"q": "tea"})
        cache.assert_not_evicted(path="/search")
        client.delete("/search", params={"q": "cup"})
        cache.assert_evicted(path="/search")


def test_a_put_is_no_eviction(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    with serving(app) as client:
        client.put("/products/1", json={"name": "new"})
        assert_hit(client.get("/products/1"))
    cache.assert_not_evicted(path="/products/1")
    with pytest.raises(AssertionError, match=r"path '/products/1' was not evicted"):
        cache.assert_evicted(path="/products/1")


async def test_evicting_everything_evicts_every_group_and_path(cache: MemoryCache) -> None:
    await cache.backend().delete_group("")
    cache.assert_evicted(group="products")
    cache.assert_evicted(path="/anything")
    with pytest.raises(AssertionError, match="the whole cache"):
        cache.assert_not_evicted(path="/anything")


async def test_evictions_and_entries_can_be_forgotten(cache: MemoryCache) -> None:
    backend = cache.backend()
    await backend.delete_group("products")
    await backend.set("n", 1)
    cache.forget_evictions()
    cache.assert_not_evicted(group="products")
    assert await backend.has("n")
    cache.clear()
    assert not await backend.has("n")


def test_an_eviction_is_named_by_group_or_by_path(cache: MemoryCache) -> None:
    for names in ({}, {"group": "g", "path": "/p"}):
        with pytest.raises(TypeError, match="either group= or path="):
            cache.assert_evicted(**names)


# -- counts


def test_events_are_counted_by_route(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    with serving(app) as client:
        for _ in range(3):
            client.get("/products/1")
        with cache.outage():
            client.get("/products/1")
        client.delete("/products/1")
    read = cache.stats["GET /products/{number}"]
    assert (read.misses, read.hits, read.bypasses, read.hit_ratio) == (1, 2, 1, 0.5)
    assert cache.stats["DELETE /products/{number}"].evictions == 1
    assert cache.stats["GET /nowhere"].reads == 0
    cache.clear()
    assert list(cache.stats) == []


def test_a_stale_response_is_counted_once_and_its_refresh_is_not(cache: MemoryCache) -> None:
    app = new_app(using=settings(url="redis://127.0.0.1:1"))

    @app.get("/p")
    async def read() -> Annotated[int, Cached(60, stale_while_revalidate=30)]:
        return 1

    cache.install(app)
    with serving(app) as client:
        assert_miss(client.get("/p"))
        cache.advance(70)
        assert_stale(client.get("/p"))
        refreshed = any(state_of(client.get("/p")) == "HIT" for _ in range(1000))
        counts = cache.stats["GET /p"]
    assert refreshed
    assert counts.misses == 1
    assert counts.stale >= 1


def test_listeners_of_the_application_see_the_requests_of_its_tests(cache: MemoryCache) -> None:
    app, heard = shelf(), list[Event]()
    FastAPIRedis(app).listen(heard.append)
    cache.install(app)
    with serving(app) as client:
        client.get("/products/1")
    assert [event.state for event in heard if isinstance(event, Answered)] == ["MISS"]


# -- messages


@pytest.mark.parametrize(
    ("check", "found", "message"),
    [
        (assert_hit, "MISS", r"expected X-Redis-Cache: HIT, got X-Redis-Cache: MISS: the endpoint"),
        (assert_miss, "HIT", r"got X-Redis-Cache: HIT: it came from the cache"),
        (assert_bypass, None, r"got no X-Redis-Cache: the endpoint declares no caching"),
        (assert_not_cached, "BYPASS", r"expected no X-Redis-Cache, got X-Redis-Cache: BYPASS"),
    ],
)
def test_a_failed_assertion_shows_the_state_and_explains_it(
    check: Any, found: str | None, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        check(Response(200, headers={"x-redis-cache": found} if found else {}))


def test_a_failed_assertion_names_the_request(cache: MemoryCache) -> None:
    app = shelf()
    cache.install(app)
    with pytest.raises(AssertionError, match=r"from GET http://testserver/products/1 \(200\)"):
        assert_hit(TestClient(app).get("/products/1"))


# -- the plugin

PLUGINS = ("-p", "redis_fastapi._pytest", "-p", "pytest_asyncio.plugin")
OPTIONS = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project of a user's, whose pytest loads our plugin and pytest-asyncio and no other."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    pytester.makefile(".ini", pytest=OPTIONS)
    return pytester


def passed(project: pytest.Pytester) -> int:
    outcome = project.run(sys.executable, "-m", "pytest", *PLUGINS)
    outcomes = outcome.parseoutcomes()
    assert set(outcomes) <= {"passed", "warnings", "warning"}, outcome.outlines
    return outcomes["passed"]


def test_the_plugin_gives_each_test_a_cache_of_its_own(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest
        from typing import Annotated
        from fastapi import FastAPI
        from fastapi.testclient import TestClient
        from httpx import ASGITransport, AsyncClient
        from redis_fastapi import Cached, FastAPIRedis
        from redis_fastapi.testing import assert_hit, assert_miss

        app = FastAPI()
        FastAPIRedis(app).lifespan().caching()

        @app.get("/")
        def root() -> Annotated[int, Cached(60)]:
            return 1

        @pytest.fixture(autouse=True)
        def installed(redis_cache):
            redis_cache.install(app)

        @pytest.mark.parametrize("attempt", [1, 2])
        def test_sync(attempt):
            with TestClient(app) as client:
                assert_miss(client.get("/"))
                assert_hit(client.get("/"))

        @pytest.mark.parametrize("attempt", [1, 2])
        async def test_async(attempt, redis_cache):
            async with AsyncClient(transport=ASGITransport(app), base_url="http://t") as client:
                assert_miss(await client.get("/"))
                redis_cache.advance(59)
                assert_hit(await client.get("/"))
        """
    )
    assert passed(project) == 4


def test_the_plugin_itself_imports_nothing_of_the_library(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import sys

        def test_unused():
            assert "redis_fastapi.testing" not in sys.modules
            assert "fakeredis" not in sys.modules
        """
    )
    assert passed(project) == 1


def test_the_page_about_testing_is_a_test_module_that_passes(project: pytest.Pytester) -> None:
    page = (ROOT / "docs" / "testing.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    project.makepyfile("\n\n".join(blocks))
    expected = sum(
        len(re.findall(r"^(?:async )?def test_", block, re.MULTILINE)) for block in blocks
    )
    assert passed(project) == expected > 5
