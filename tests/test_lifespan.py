"""The pool and the runtime of an application: opened, found, overridden, closed."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

import pytest
from fakeredis import FakeAsyncRedis, FakeRedis, FakeServer
from fastapi import APIRouter, Depends, FastAPI, Header, Request, WebSocket
from fastapi.testclient import TestClient
from redis.asyncio import Redis

from redis_fastapi import (
    AsyncRedisDep,
    CacheBackend,
    CacheBackendDep,
    Cached,
    CacheDeclarationError,
    CacheEvict,
    CachePut,
    CacheRoute,
    CacheSettingsError,
    CacheSetupError,
    CacheUnavailableError,
    FastAPIRedis,
    cache,
    cache_evict,
    get_async_redis,
    get_cache_backend,
    get_settings,
    redis_lifespan,
)
from redis_fastapi._app import runtime
from redis_fastapi._policy.handlers import INCLUDES_LAZILY
from redis_fastapi._redis.shared_connection import SharedConnection
from redis_fastapi.testing import MemoryCache
from servers import RedisServer, free_port
from support import (
    Body,
    Runs,
    calling,
    keys_of,
    new_app,
    serving,
    settings,
    share_client,
    start_up,
    state_of,
)


def add_endpoints(app: FastAPI, runs: Runs | None = None) -> FastAPI:
    router = APIRouter(route_class=CacheRoute)
    counted = runs if runs is not None else Runs()

    @router.get("/x")
    async def read() -> Annotated[Body, Cached(60, group="g")]:
        return {"run": counted.note()}

    @router.delete("/x")
    async def drop() -> Annotated[None, CacheEvict(group="g")]:
        return None

    @router.get("/client")
    async def client_id(client: AsyncRedisDep) -> int:
        return id(client)

    app.include_router(router)
    return app


def cached_app(**changes: Any) -> FastAPI:
    return add_endpoints(new_app(using=settings(**changes)))


def states(client: TestClient, *paths: str) -> list[str | None]:
    return [state_of(client.get(path)) for path in paths]


def connections(server: RedisServer) -> int:
    """How many clients the server sees, without the one that counts."""
    return int(server.command("INFO", "clients")["connected_clients"]) - 1


async def until(condition: Callable[[], bool]) -> bool:
    """Poll until a condition holds; false after two seconds."""
    for _ in range(200):
        if condition():
            return True
        await asyncio.sleep(0.01)
    return False


# -- opened and closed


def test_each_application_has_a_pool_of_its_own() -> None:
    with serving(cached_app()) as one, serving(cached_app()) as other:
        assert one.get("/client").json() == one.get("/client").json()
        assert one.get("/client").json() != other.get("/client").json()
        assert states(one, "/x", "/x") == ["MISS", "HIT"]
        assert states(other, "/x") == ["MISS"]


def test_an_eviction_in_one_application_leaves_the_other_alone() -> None:
    with serving(cached_app()) as one, serving(cached_app()) as other:
        states(one, "/x")
        states(other, "/x")
        one.delete("/x")
        assert states(one, "/x") + states(other, "/x") == ["MISS", "HIT"]


def test_two_prefixes_on_one_server_are_two_caches(redis_url: str) -> None:
    one, other = (cached_app(url=redis_url, prefix=prefix) for prefix in ("one", "other"))
    with serving(one) as first, serving(other) as second:
        assert states(first, "/x", "/x") == ["MISS", "HIT"]
        assert states(second, "/x", "/x") == ["MISS", "HIT"]
        first.delete("/x")
        assert states(first, "/x") + states(second, "/x") == ["MISS", "HIT"]


async def test_shutdown_closes_every_connection(redis_server: RedisServer) -> None:
    app = cached_app(url=redis_server.url)
    before = connections(redis_server)
    async with app.router.lifespan_context(app):
        async with calling(app) as client:
            await asyncio.gather(*(client.get("/x") for _ in range(10)))
            await client.delete("/x")
        assert connections(redis_server) > before
    assert await until(lambda: connections(redis_server) <= before)


async def test_a_failing_shutdown_of_the_app_closes_every_connection(
    redis_server: RedisServer,
) -> None:
    @asynccontextmanager
    async def broken(_: FastAPI) -> AsyncIterator[None]:
        yield
        raise OSError("cannot shut down")

    app = FastAPI(lifespan=broken)
    FastAPIRedis(app, settings(url=redis_server.url)).lifespan().caching()
    add_endpoints(app)
    before = connections(redis_server)
    with pytest.raises(OSError, match="cannot shut down"):
        async with app.router.lifespan_context(app), calling(app) as client:
            await client.get("/x")
    assert await until(lambda: connections(redis_server) <= before)


async def test_nothing_runs_on_after_shutdown(redis_url: str) -> None:
    app = cached_app(url=redis_url)
    before = asyncio.all_tasks()
    async with app.router.lifespan_context(app), calling(app) as client:
        await asyncio.gather(*(client.get("/x") for _ in range(10)))
        await client.get("/x", headers={"cache-control": "no-cache"})
    assert asyncio.all_tasks() == before


async def test_a_lease_given_up_at_shutdown_is_released_on_the_server(
    redis_url: str, redis_client: Redis
) -> None:
    app = new_app(using=settings(url=redis_url))
    started = asyncio.Event()

    @app.get("/slow")
    async def slow() -> Annotated[Body, Cached(60)]:
        started.set()
        await asyncio.Event().wait()
        return {}

    async with app.router.lifespan_context(app), calling(app) as client:
        request = asyncio.create_task(client.get("/slow"))
        await started.wait()
        assert len(await keys_of(redis_client, "l:")) == 1
        request.cancel()
        await asyncio.sleep(0)
    assert await keys_of(redis_client, "l:") == []
    with pytest.raises(asyncio.CancelledError):
        await request


async def cancelled_at_shutdown(url: str, method: str) -> str | None:
    """How the cache is used after a write was cancelled, and ended only after the lifespan did."""
    app, started, goes_on = new_app(using=settings(url=url)), asyncio.Event(), asyncio.Event()

    @app.get("/x")
    async def read() -> Annotated[Body, Cached(60, group="g")]:
        return {}

    async def write() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:  # as a thread that cannot be cancelled
            await goes_on.wait()

    @app.put("/x")
    async def put() -> Annotated[Body, CachePut()]:
        await write()
        return {}

    @app.delete("/x")
    async def drop() -> Annotated[None, CacheEvict(group="g")]:
        await write()

    async with calling(app) as client:
        async with app.router.lifespan_context(app):
            await client.get("/x")
            request = asyncio.create_task(client.request(method, "/x"))
            await started.wait()
            request.cancel()
        goes_on.set()
        await asyncio.gather(request, return_exceptions=True)
        async with app.router.lifespan_context(app):
            return state_of(await client.get("/x"))


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_write_that_ends_after_the_shutdown_evicts(redis_url: str, method: str) -> None:
    assert await cancelled_at_shutdown(redis_url, method) == "MISS"


async def test_control_without_a_connection_after_shutdown_it_does_not(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(*_: object) -> None:
        raise CacheUnavailableError("closed")

    monkeypatch.setattr(SharedConnection, "_send_after_close", refuse)
    assert await cancelled_at_shutdown(redis_url, "DELETE") == "HIT"
    assert [one.message for one in caplog.records if one.levelname == "ERROR"] == [
        "evictions of 1 names are lost with this process"
    ]


def test_a_write_on_an_event_loop_that_has_ended_lets_the_application_stop(redis_url: str) -> None:
    app = cached_app(url=redis_url)

    async def drop() -> None:
        async with calling(app) as http:
            assert (await http.delete("/x")).status_code == 200

    with serving(app) as client:
        assert states(client, "/x", "/x") == ["MISS", "HIT"]
        asyncio.run(drop())
        assert states(client, "/x", "/x") == ["MISS", "HIT"]


def test_start_up_does_not_need_redis() -> None:
    app = cached_app(url=f"redis://127.0.0.1:{free_port()}/0", deadline=0.5)
    with serving(app) as client:
        assert states(client, "/x") == ["BYPASS"]


def test_a_bad_setting_stops_start_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "http://nowhere")
    get_settings.cache_clear()
    app = FastAPI()
    FastAPIRedis(app).lifespan()
    with pytest.raises(CacheSettingsError, match="REDIS_URL"):
        start_up(app)
    get_settings.cache_clear()


def test_an_application_starts_again_after_it_stopped() -> None:
    app = cached_app()
    for _ in range(2):
        with serving(app) as client:
            assert states(client, "/x", "/x") == ["MISS", "HIT"]


async def test_a_lifespan_entered_twice_serves_until_the_last_one_left() -> None:
    app = cached_app()
    async with app.router.lifespan_context(app):
        async with app.router.lifespan_context(app), calling(app) as client:
            assert state_of(await client.get("/x")) == "MISS"
            assert state_of(await client.get("/x")) == "HIT"
        async with calling(app) as client:
            assert state_of(await client.get("/x")) == "MISS"
            assert state_of(await client.get("/x")) == "HIT"
    async with calling(app) as client:
        assert state_of(await client.get("/x")) is None


async def test_a_lifespan_entered_twice_closes_both_pools(redis_server: RedisServer) -> None:
    app = cached_app(url=redis_server.url)
    before = connections(redis_server)
    async with app.router.lifespan_context(app):
        async with app.router.lifespan_context(app), calling(app) as client:
            await client.get("/x")
        async with calling(app) as client:
            await client.get("/x")
    assert await until(lambda: connections(redis_server) <= before)


def test_steps_taken_twice_change_nothing() -> None:
    app = FastAPI()
    builder = FastAPIRedis(app, settings())
    assert builder.lifespan().lifespan().caching().caching() is builder
    FastAPIRedis(app, settings()).lifespan().caching()
    lifespan = app.router.lifespan_context
    FastAPIRedis(app).lifespan()
    assert app.router.lifespan_context is lifespan
    with serving(add_endpoints(app)) as client:
        assert states(client, "/x", "/x") == ["MISS", "HIT"]


@pytest.mark.parametrize("lifespan", ["redis_lifespan", "a builder without settings"])
def test_settings_in_code_hold_whichever_step_has_them(lifespan: str) -> None:
    if lifespan == "redis_lifespan":
        app = FastAPI(lifespan=redis_lifespan)
    else:
        FastAPIRedis(app := FastAPI()).lifespan()
    FastAPIRedis(app, settings()).caching()
    with serving(add_endpoints(app)) as client:
        assert states(client, "/x", "/x") == ["MISS", "HIT"]


def test_settings_in_code_hold_without_a_lifespan() -> None:
    app = cached_app(enabled=False)
    app.dependency_overrides[get_async_redis] = FakeAsyncRedis
    assert states(TestClient(app), "/x", "/x") == [None, None]


# -- round another lifespan


def test_an_existing_lifespan_runs_and_its_state_is_passed_on() -> None:
    runs = Runs()

    @asynccontextmanager
    async def existing(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        runs.note("start")
        yield {"answer": 42}
        runs.note("stop")

    app = FastAPI(lifespan=existing)
    FastAPIRedis(app, settings()).lifespan().caching()

    @app.get("/state")
    async def answer(request: Request) -> int:
        return int(request.state.answer)

    with serving(add_endpoints(app)) as client:
        assert client.get("/state").json() == 42
        assert states(client, "/x", "/x") == ["MISS", "HIT"]
        assert runs.names == ["start"]
    assert runs.names == ["start", "stop"]


def add_items(app: FastAPI) -> None:
    """A router with its evictions, by markers and by dependencies."""
    router, plain, runs = APIRouter(route_class=CacheRoute), APIRouter(), Runs()

    @router.get("/items/{number}")
    async def item(number: int) -> Annotated[Body, Cached(60)]:
        return {"run": runs.note()}

    @router.delete("/items/{number}")
    async def drop(number: int) -> Annotated[None, CacheEvict(key=item)]: ...

    @router.post("/items/{number}")
    async def drop_path(number: str) -> Annotated[None, CacheEvict(key="/late/items/{number}")]: ...

    @router.put("/items/{number}")
    async def put(number: int) -> Annotated[Body, CachePut()]:
        return {"run": runs.note()}

    @plain.get("/all", dependencies=[Depends(cache(60, eviction_group="g"))])
    async def every() -> Body:
        return {"run": runs.note()}

    @plain.delete("/all", dependencies=[Depends(cache_evict(eviction_group="g"))])
    async def drop_every() -> None: ...

    app.include_router(router, prefix="/late")
    app.include_router(plain, prefix="/late")


def app_that_adds(add: Callable[[FastAPI], None]) -> FastAPI:
    """An application whose own lifespan adds routes."""

    @asynccontextmanager
    async def add_routes(app: FastAPI) -> AsyncIterator[None]:
        add(app)
        yield

    return new_app(lifespan=add_routes)


@pytest.mark.skipif(not INCLUDES_LAZILY, reason="included routes are the application's own")
def test_a_guard_that_a_lifespan_adds_to_an_included_route_runs() -> None:
    router, runs = APIRouter(route_class=CacheRoute), Runs()

    @router.get("/x")
    async def read() -> Annotated[Body, Cached(60)]:
        return {}

    @asynccontextmanager
    async def add_guard(_: FastAPI) -> AsyncIterator[None]:
        for route in router.routes:
            assert isinstance(route, CacheRoute)
            route.dependencies.append(Depends(lambda: runs.note("guard")))
        yield

    app = new_app(lifespan=add_guard)
    app.include_router(router, prefix="/v1")
    with serving(app) as client:
        assert states(client, "/v1/x", "/v1/x") == ["MISS", "HIT"]
    assert runs.names == ["guard", "guard"]


def test_an_endpoint_that_a_lifespan_wraps_is_warned_about_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @asynccontextmanager
    async def wrap_call(app: FastAPI) -> AsyncIterator[None]:
        route = next(one for one in app.routes if getattr(one, "path", "") == "/wrapped")
        assert isinstance(route, CacheRoute)
        assert route.dependant.call is not None
        route.dependant.call = partial(route.dependant.call)
        yield

    app = new_app(lifespan=wrap_call)
    for path in ("/wrapped", "/request"):

        @app.get(path)
        async def read(request: Request) -> Annotated[Body, Cached(60)]:
            return {}

    start_up(app)
    said = [one for one in caplog.messages if "takes the whole Request" in one]
    assert [one.partition(" takes")[0] for one in said] == [
        "GET /wrapped (read): read",
        "GET /request (read): read",
        "GET /wrapped (read): read, what wraps read",
    ]


LATE_WRITES = [
    ("DELETE", "/late/items/1"),
    ("POST", "/late/items/01"),
    ("PUT", "/late/items/01"),
    ("DELETE", "/late/all"),
]


@pytest.mark.parametrize(("method", "path"), LATE_WRITES)
def test_a_write_reaches_what_a_lifespan_has_added(method: str, path: str) -> None:
    read = path.replace("01", "1")
    with serving(app_that_adds(add_items)) as client:
        assert states(client, read, read) == ["MISS", "HIT"]
        before = client.get(read).json()
        assert client.request(method, path).status_code == 200
        assert client.get(read).json() != before


@pytest.mark.parametrize(("method", "path"), LATE_WRITES[:-1])
def test_a_write_reaches_what_was_added_while_the_application_runs(method: str, path: str) -> None:
    app, read = new_app(), path.replace("01", "1")
    with serving(app) as client:
        assert client.put("/late/items/1").status_code == 404
        add_items(app)
        before = client.get(read).json()
        assert client.request(method, path).status_code == 200
        assert client.get(read).json() != before


def test_what_a_lifespan_adds_is_checked() -> None:
    def add(app: FastAPI) -> None:
        @app.put("/x")
        async def put() -> Annotated[Body, CachePut()]:
            return {}

    with pytest.raises(CacheDeclarationError, match="no cached GET"):
        start_up(app_that_adds(add))


def test_an_existing_lifespan_can_use_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "memory://")
    get_settings.cache_clear()

    @asynccontextmanager
    async def both(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with redis_lifespan(app) as state:
            yield {**state, "mine": 1}

    app = FastAPI(lifespan=both)
    FastAPIRedis(app).caching()
    with serving(add_endpoints(app)) as client:
        assert states(client, "/x", "/x") == ["MISS", "HIT"]
    get_settings.cache_clear()


def test_redis_lifespan_is_a_lifespan_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "memory://")
    get_settings.cache_clear()
    with serving(add_endpoints(FastAPI(lifespan=redis_lifespan))) as client:
        assert states(client, "/x", "/x") == ["MISS", "HIT"]
    get_settings.cache_clear()


def test_a_websocket_is_given_client_and_backend() -> None:
    app = cached_app()

    @app.websocket("/ws")
    async def talk(socket: WebSocket, client: AsyncRedisDep, backend: CacheBackendDep) -> None:
        await backend.set("greeting", "hello")
        await socket.accept()
        await socket.send_json([await client.ping(), await backend.get("greeting")])
        await socket.close()

    with serving(app) as client, client.websocket_connect("/ws") as socket:
        assert socket.receive_json() == [True, "hello"]
    with MemoryCache(app), serving(app) as client, client.websocket_connect("/ws") as socket:
        assert socket.receive_json() == [True, "hello"]


# -- without a lifespan


def test_without_a_lifespan_the_client_names_the_line_to_add() -> None:
    client = TestClient(add_endpoints(FastAPI()))
    with pytest.raises(CacheSetupError, match=r"FastAPIRedis\(app\)\.lifespan\(\)") as said:
        client.get("/client")
    assert "dependency_overrides" in str(said.value) or "override get_async_redis" in str(
        said.value
    )


def test_a_test_client_without_context_manager_is_uncached_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = TestClient(cached_app())
    assert states(client, "/x", "/x") == [None, None]
    assert client.delete("/x").status_code == 200
    said = [r.getMessage() for r in caplog.records if "lifespan()" in r.getMessage()]
    assert len(said) == 1


def test_a_test_client_without_context_manager_caches_on_an_override() -> None:
    server = FakeServer()
    app = cached_app()

    async def on_server() -> AsyncIterator[Redis]:
        async with FakeAsyncRedis(server=server) as client:
            yield client

    app.dependency_overrides[get_async_redis] = on_server
    client = TestClient(app)
    assert states(client, "/x", "/x") == ["MISS", "HIT"]
    client.delete("/x")
    assert states(client, "/x") == ["MISS"]


# -- mounted applications


def test_a_mounted_application_uses_the_client_of_its_parent() -> None:
    app, sub = cached_app(), add_endpoints(FastAPI())
    app.mount("/sub", sub)
    with serving(app) as client:
        assert states(client, "/sub/x", "/sub/x", "/x") == ["MISS", "HIT", "MISS"]
        assert client.get("/sub/client").json() == client.get("/client").json()
        client.delete("/x")
        assert states(client, "/sub/x") == ["MISS"]


def test_a_mounted_application_declares_by_dependency_too() -> None:
    app, sub = cached_app(), FastAPI()
    FastAPIRedis(sub).caching()

    @sub.get("/y", dependencies=[Depends(cache(60))])
    async def plain() -> Body:
        return {}

    app.mount("/sub", sub)
    with serving(app) as client:
        assert states(client, "/sub/y", "/sub/y") == ["MISS", "HIT"]


def test_an_override_of_a_mounted_application_is_its_own() -> None:
    app, sub = cached_app(), add_endpoints(FastAPI())
    app.mount("/sub", sub)

    def no_client() -> Redis:
        raise AssertionError("not the override of the other application")

    with serving(app) as client:
        app.dependency_overrides[get_async_redis] = no_client
        assert states(client, "/sub/x", "/sub/x") == ["MISS", "HIT"]


# -- off, and embedded


def test_switched_off_nothing_is_cached_and_nothing_is_announced() -> None:
    with serving(cached_app(enabled=False)) as client:
        answers = [client.get("/x") for _ in range(2)]
        assert [answer.json() for answer in answers] == [{"run": 1}, {"run": 2}]
        assert not {"etag", "x-redis-cache", "cache-control"} & set(answers[0].headers)
        assert client.delete("/x").status_code == 200
        assert isinstance(client.get("/client").json(), int)


def test_switched_off_a_backend_keeps_nothing_that_no_endpoint_would_evict(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, runs = cached_app(enabled=False), Runs()

    @app.get("/backend")
    async def by_hand(cache: CacheBackendDep) -> list[Any]:
        await cache.set("set", 1, eviction_group="g")
        made = await cache.get_or_set("made", runs.note, eviction_group="g")
        return [made, await cache.get("set", eviction_group="g"), await cache.delete_group("g")]

    with serving(app) as client:
        caplog.clear()
        answers = [client.get("/backend").json() for _ in range(2)]
    assert answers == [[1, None, True], [2, None, True]]
    assert caplog.records == []


async def test_switched_off_an_override_is_not_used_for_caching(fake_client: Redis) -> None:
    app = cached_app(enabled=False)
    async with app.router.lifespan_context(app), calling(app) as client:
        share_client(app, fake_client)
        await client.get("/x")
    assert await fake_client.dbsize() == 0


def test_the_switch_is_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_ENABLED", "false")
    monkeypatch.setenv("REDIS_URL", "memory://")
    get_settings.cache_clear()
    app = FastAPI()
    FastAPIRedis(app).lifespan().caching()
    with serving(add_endpoints(app)) as client:
        assert states(client, "/x", "/x") == [None, None]
    get_settings.cache_clear()


def test_the_embedded_server_is_logged_and_closed_at_shutdown(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = cached_app(url="memory://")
    with serving(app) as client:
        assert states(client, "/x", "/x") == ["MISS", "HIT"]
    assert any("memory://" in record.getMessage() for record in caplog.records)
    with serving(app) as client:
        assert states(client, "/x") == ["MISS"]


# -- overrides


def lambda_override(client: Redis) -> Callable[..., Any]:
    return lambda: client


def async_override(client: Redis) -> Callable[..., Any]:
    async def override() -> Redis:
        return client

    return override


def generator_override(client: Redis) -> Callable[..., Any]:
    def override() -> Any:
        yield client

    return override


def async_generator_override(client: Redis) -> Callable[..., Any]:
    async def override() -> AsyncIterator[Redis]:
        yield client

    return override


def dependent_override(client: Redis) -> Callable[..., Any]:
    async def chosen(x_choice: Annotated[str, Header()] = "default") -> str:
        return x_choice

    async def override(request: Request, choice: Annotated[str, Depends(chosen)]) -> Redis:
        assert (request.url.path, choice) != ("", "")
        return client

    return override


each_form = pytest.mark.parametrize(
    "form",
    [
        lambda_override,
        async_override,
        generator_override,
        async_generator_override,
        dependent_override,
    ],
)


@each_form
@pytest.mark.parametrize("with_lifespan", [True, False])
async def test_an_override_of_the_client_serves_the_requests(
    form: Callable[[Redis], Callable[..., Any]], with_lifespan: bool, fake_client: Redis
) -> None:
    app = cached_app()
    app.dependency_overrides[get_async_redis] = form(fake_client)

    async def requests() -> None:
        async with calling(app) as client:
            assert state_of(await client.get("/x")) == "MISS"
            assert state_of(await client.get("/x")) == "HIT"
            assert (await client.get("/client")).json() == id(fake_client)
            await client.delete("/x")
            assert state_of(await client.get("/x")) == "MISS"

    if with_lifespan:
        async with app.router.lifespan_context(app):
            await requests()
    else:
        await requests()
    assert await fake_client.dbsize() > 0


@each_form
async def test_an_override_of_the_backend_serves_the_endpoints(
    form: Callable[[Any], Callable[..., Any]], fake_client: Redis
) -> None:
    app = cached_app()
    backend = CacheBackend(fake_client, settings=settings())

    @app.get("/backend")
    async def same(found: CacheBackendDep) -> bool:
        return found is backend

    app.dependency_overrides[get_cache_backend] = form(backend)
    async with calling(app) as client:
        assert (await client.get("/backend")).json() is True
        assert state_of(await client.get("/x")) == "MISS"
        assert state_of(await client.get("/x")) == "HIT"
    assert await fake_client.dbsize() > 0
    await backend.engine.aclose()


async def test_an_override_of_the_backend_wins_over_one_of_the_client(fake_client: Redis) -> None:
    app = cached_app()
    backend = CacheBackend(fake_client, settings=settings())

    def no_client() -> Redis:
        raise AssertionError("the backend has a client already")

    app.dependency_overrides[get_async_redis] = no_client
    app.dependency_overrides[get_cache_backend] = lambda: backend
    async with calling(app) as client:
        assert state_of(await client.get("/x")) == "MISS"
        assert state_of(await client.get("/x")) == "HIT"
    await backend.engine.aclose()


async def test_a_generator_override_is_cleaned_up_after_each_request() -> None:
    runs = Runs()
    server = FakeServer()
    app = cached_app()

    async def override() -> AsyncIterator[Redis]:
        runs.note("open")
        async with FakeAsyncRedis(server=server) as client:
            yield client
        runs.note("close")

    app.dependency_overrides[get_async_redis] = override
    async with calling(app) as client:
        for state in ("MISS", "HIT", "HIT"):
            assert state_of(await client.get("/x")) == state
    assert runs.names == ["open", "close"] * 3


async def test_a_client_made_for_each_request_is_not_kept() -> None:
    server = FakeServer()
    app = cached_app()
    made: list[int] = []

    async def override() -> AsyncIterator[Redis]:
        async with FakeAsyncRedis(server=server) as client:
            made.append(id(client))
            yield client

    app.dependency_overrides[get_async_redis] = override
    async with calling(app) as client:
        for _ in range(20):
            await client.get("/x")
    gc.collect()
    assert len(app.state.redis_fastapi._engines) < 5


async def test_an_override_removed_is_an_override_forgotten(fake_client: Redis) -> None:
    app = cached_app()
    async with app.router.lifespan_context(app), calling(app) as client:
        share_client(app, fake_client)
        assert state_of(await client.get("/x")) == "MISS"
        app.dependency_overrides.clear()
        assert state_of(await client.get("/x")) == "MISS"
        assert state_of(await client.get("/x")) == "HIT"


async def test_two_applications_with_two_overrides_share_nothing(fake_client: Redis) -> None:
    async with FakeAsyncRedis(server=FakeServer()) as other_client:
        one, other = cached_app(), cached_app()
        share_client(one, fake_client)
        share_client(other, other_client)
        async with calling(one) as first, calling(other) as second:
            assert state_of(await first.get("/x")) == "MISS"
            assert state_of(await second.get("/x")) == "MISS"
            await first.delete("/x")
            assert state_of(await second.get("/x")) == "HIT"


async def test_requests_on_an_override_share_one_flight(
    fake_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    # without a lifespan the settings are the environment's, less patient than a busy machine needs
    monkeypatch.setattr(runtime, "get_settings", settings)
    runs = Runs()
    go = asyncio.Event()
    app = new_app()

    @app.get("/slow")
    async def slow() -> Annotated[Body, Cached(60)]:
        await go.wait()
        return {"run": runs.note()}

    share_client(app, fake_client)
    async with calling(app) as client:
        tasks = [asyncio.create_task(client.get("/slow")) for _ in range(10)]
        await asyncio.sleep(0.05)
        go.set()
        assert [answer.json() for answer in await asyncio.gather(*tasks)] == [{"run": 1}] * 10


async def test_an_override_with_a_blocking_client_is_an_error() -> None:
    app = cached_app()
    app.dependency_overrides[get_async_redis] = lambda: FakeRedis()
    async with calling(app) as client:
        with pytest.raises(CacheSetupError, match=r"FakeRedis.* redis\.asyncio"):
            await client.get("/x")


async def test_an_override_that_cannot_be_resolved_is_an_error(fake_client: Redis) -> None:
    app = cached_app()

    async def needs(x_must: Annotated[str, Header()]) -> Redis:
        return fake_client

    app.dependency_overrides[get_async_redis] = needs
    async with calling(app) as client:
        with pytest.raises(CacheSetupError, match="override of get_async_redis"):
            await client.get("/x")
        assert state_of(await client.get("/x", headers={"x-must": "1"})) == "MISS"
