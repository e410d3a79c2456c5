"""Caching declared by ``Depends``: every place it may stand, and the official SDK's quick start."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from contextvars import ContextVar
from datetime import timedelta
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request, Response
from fastapi.dependencies.utils import get_parameterless_sub_dependant
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from pydantic import BaseModel
from redis.asyncio import Redis
from starlette.authentication import requires

from redis_fastapi import (
    AsyncRedisDep,
    Cached,
    CacheDeclarationError,
    CacheRoute,
    FastAPIRedis,
    cache,
    cache_evict,
    cache_put,
    default_key_builder,
    get_async_redis,
    get_settings,
)
from support import (
    Body,
    Door,
    Runs,
    both_doors,
    calling,
    directives_of,
    keys_of,
    new_app,
    serving,
    settings,
    share_client,
    start_up,
    state_of,
)


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The environment of a user who tries the quick start."""
    monkeypatch.setenv("REDIS_URL", "memory://")
    monkeypatch.setenv("REDIS_DEADLINE", "5")
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


async def plain() -> Body:
    return {}


def states(client: TestClient, *paths: str) -> list[str | None]:
    return [state_of(client.get(path)) for path in paths]


# -- the published quick start


class Product(BaseModel):
    name: str


class Products:
    """What the quick start calls ``db``."""

    def __init__(self) -> None:
        self.rows: dict[int, Any] = {1: {"name": "old"}}
        self.reads = 0

    async def get_product(self, product_id: int) -> Any:
        self.reads += 1
        return self.rows.get(product_id)

    async def delete(self, product_id: int) -> None:
        self.rows.pop(product_id, None)

    async def update(self, product_id: int, body: Product) -> Any:
        self.rows[product_id] = body.model_dump()
        return body


def quick_start(db: Products) -> FastAPI:
    """The lines of the published quick start, unchanged."""
    app = FastAPI()
    FastAPIRedis(app).lifespan().caching()

    # READ — cache GET responses
    @app.get(
        "/products/{product_id}",
        dependencies=[Depends(cache(ttl=300, eviction_group="products"))],
    )
    async def get_product(product_id: int):  # type: ignore[no-untyped-def]  # as in the SDK's documents
        return await db.get_product(product_id)

    # INVALIDATE — evict the cached entry on delete
    @app.delete(
        "/products/{product_id}",
        dependencies=[
            Depends(cache_evict(eviction_group="products", key_builder=default_key_builder))
        ],
    )
    async def delete_product(product_id: int):  # type: ignore[no-untyped-def]  # as in the SDK's documents
        await db.delete(product_id)

    # WRITE-THROUGH — update the cache so the next GET is a HIT
    @app.put(
        "/products/{product_id}",
        dependencies=[
            Depends(cache_put(eviction_group="products", key_builder=default_key_builder, ttl=300))
        ],
    )
    async def replace_product(product_id: int, body: Product):  # type: ignore[no-untyped-def]  # as in the SDK's documents
        return await db.update(product_id, body)

    return app


@pytest.fixture
def shop(in_memory: None) -> Any:
    db = Products()
    with serving(quick_start(db)) as client:
        yield client, db


def test_the_quick_start_starts_without_a_warning(
    in_memory: None, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(quick_start(Products())):
        said = [r.getMessage() for r in caplog.records if r.name == "redis_fastapi"]
    assert all(message.startswith("memory://") for message in said)


def test_the_quick_start_misses_and_then_hits(shop: tuple[TestClient, Products]) -> None:
    client, db = shop
    miss, hit = client.get("/products/1"), client.get("/products/1")
    assert (state_of(miss), state_of(hit)) == ("MISS", "HIT")
    assert miss.json() == hit.json() == {"name": "old"}
    assert miss.headers["etag"] == hit.headers["etag"]
    assert "max-age=300" in directives_of(hit)
    assert db.reads == 1


def test_the_quick_start_sends_304_for_a_known_etag(shop: tuple[TestClient, Products]) -> None:
    client, _ = shop
    etag = client.get("/products/1").headers["etag"]
    not_modified = client.get("/products/1", headers={"if-none-match": etag})
    assert (not_modified.status_code, not_modified.content) == (304, b"")
    assert not_modified.headers["etag"] == etag
    assert client.get("/products/1", headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize("warm", [True, False])
def test_a_put_of_the_quick_start_makes_the_next_get_a_hit_with_the_new_body(
    shop: tuple[TestClient, Products], warm: bool
) -> None:
    client, db = shop
    if warm:
        client.get("/products/1")
    reads = db.reads
    assert client.put("/products/1", json={"name": "new"}).json() == {"name": "new"}
    after = client.get("/products/1")
    assert (state_of(after), after.json()) == ("HIT", {"name": "new"})
    assert "max-age=300" in directives_of(after)
    assert db.reads == reads


def test_a_put_of_the_quick_start_writes_its_own_product_only(
    shop: tuple[TestClient, Products],
) -> None:
    client, _ = shop
    client.get("/products/2")
    client.put("/products/1", json={"name": "new"})
    assert client.get("/products/2").json() is None


@pytest.mark.parametrize("by", ["get", "put"])
def test_a_delete_of_the_quick_start_makes_the_next_get_a_miss(
    shop: tuple[TestClient, Products], by: str
) -> None:
    client, _ = shop
    client.get("/products/1") if by == "get" else client.put("/products/1", json={"name": "new"})
    client.get("/products/2")
    assert client.delete("/products/1").status_code == 200
    after = client.get("/products/1")
    assert (state_of(after), after.json()) == ("MISS", None)
    assert state_of(client.get("/products/2")) == "HIT"


def test_the_first_example_of_the_quick_start_runs(in_memory: None) -> None:
    app = FastAPI()
    FastAPIRedis(app).lifespan()

    @app.get("/items")
    async def get_items(redis: AsyncRedisDep):  # type: ignore[no-untyped-def]  # as in the SDK's documents
        return {"items": await redis.get("items")}

    @app.put("/items")
    async def put_items(redis: AsyncRedisDep):  # type: ignore[no-untyped-def]  # as in the SDK's documents
        await redis.set("items", "some")

    with serving(app) as client:
        assert client.get("/items").json() == {"items": None}
        client.put("/items")
        assert client.get("/items").json() == {"items": "some"}


def test_async_redis_dep_is_the_client_of_the_pool(in_memory: None) -> None:
    app = new_app()
    seen: list[Redis] = []

    @app.get("/x")
    async def endpoint(one: AsyncRedisDep, two: Annotated[Redis, Depends(get_async_redis)]) -> None:
        seen.extend((one, two))

    with serving(app) as client:
        client.get("/x")
        client.get("/x")
    assert len(seen) == 4
    assert len(set(map(id, seen))) == 1


# -- where a declaration may stand

CACHE = Depends(cache(60, eviction_group="g"))
ROUTE_CLASSES = pytest.mark.parametrize(
    "options", [{}, {"route_class": CacheRoute}], ids=["plain router", "cache router"]
)


class OwnRoute(APIRoute):
    """A route class of the user's."""


def app_of(router: APIRouter, **inclusion: Any) -> FastAPI:
    app = new_app()
    app.include_router(router, **inclusion)
    return app


def test_the_dependency_works_on_a_route_of_the_app() -> None:
    app = new_app()
    app.get("/x", dependencies=[CACHE])(plain)
    with serving(app) as client:
        assert states(client, "/x", "/x") == ["MISS", "HIT"]


def test_the_dependency_works_on_a_route_added_before_caching() -> None:
    app = FastAPI()
    app.get("/x", dependencies=[CACHE])(plain)
    FastAPIRedis(app, settings()).lifespan().caching()
    with serving(app) as client:
        assert states(client, "/x", "/x") == ["MISS", "HIT"]


@ROUTE_CLASSES
def test_the_dependency_works_on_a_route_of_a_router(options: dict[str, Any]) -> None:
    router = APIRouter(**options)
    router.get("/x", dependencies=[CACHE])(plain)
    router.get("/y")(plain)
    with serving(app_of(router)) as client:
        assert states(client, "/x", "/x", "/y", "/y") == ["MISS", "HIT", None, None]


@ROUTE_CLASSES
def test_the_dependency_works_on_a_router(options: dict[str, Any]) -> None:
    router = APIRouter(dependencies=[CACHE], **options)
    router.get("/x")(plain)
    with serving(app_of(router)) as client:
        assert states(client, "/x", "/x") == ["MISS", "HIT"]


@ROUTE_CLASSES
def test_the_dependency_works_on_an_inclusion(options: dict[str, Any]) -> None:
    router = APIRouter(**options)
    router.get("/x")(plain)
    with serving(app_of(router, dependencies=[CACHE])) as client:
        assert states(client, "/x", "/x") == ["MISS", "HIT"]


@ROUTE_CLASSES
@pytest.mark.parametrize("cached_first", [True, False])
def test_a_router_included_twice_is_cached_where_the_inclusion_declares_it(
    options: dict[str, Any], cached_first: bool
) -> None:
    router = APIRouter(**options)
    router.get("/x")(plain)
    app = new_app()
    inclusions: list[dict[str, Any]] = [
        {"prefix": "/with", "dependencies": [CACHE]},
        {"prefix": "/without"},
    ]
    for inclusion in inclusions if cached_first else reversed(inclusions):
        app.include_router(router, **inclusion)
    with serving(app) as client:
        assert states(client, "/with/x", "/with/x") == ["MISS", "HIT"]
        assert states(client, "/without/x", "/without/x") == [None, None]


@ROUTE_CLASSES
def test_a_router_included_twice_with_caching_has_two_resources(options: dict[str, Any]) -> None:
    router = APIRouter(**options)
    router.get("/x", dependencies=[CACHE])(plain)
    app = new_app()
    app.include_router(router, prefix="/a")
    app.include_router(router, prefix="/b")
    with serving(app) as client:
        assert states(client, "/a/x", "/b/x", "/a/x", "/b/x") == ["MISS", "MISS", "HIT", "HIT"]


@ROUTE_CLASSES
@pytest.mark.parametrize("level", ["inner", "inner include", "outer", "outer include"])
def test_the_dependency_works_in_nested_routers(options: dict[str, Any], level: str) -> None:
    def at(name: str) -> list[Any]:
        return [CACHE] if name == level else []

    inner = APIRouter(prefix="/in", dependencies=at("inner"), **options)
    inner.get("/x")(plain)
    outer = APIRouter(prefix="/out", dependencies=at("outer"), **options)
    outer.include_router(inner, dependencies=at("inner include"))
    with serving(app_of(outer, dependencies=at("outer include"))) as client:
        assert states(client, "/out/in/x", "/out/in/x") == ["MISS", "HIT"]


def test_the_dependency_works_on_the_whole_app() -> None:
    app = new_app(dependencies=[CACHE])
    app.get("/x")(plain)
    with serving(app) as client:
        assert states(client, "/x", "/x") == ["MISS", "HIT"]


def test_the_dependency_works_on_a_route_added_after_caching() -> None:
    app = new_app()
    router = APIRouter()
    app.include_router(router)
    late = APIRouter()
    late.get("/late", dependencies=[CACHE])(plain)
    app.include_router(late)
    with serving(app) as client:
        assert states(client, "/late", "/late") == ["MISS", "HIT"]


def test_the_dependency_works_on_a_router_with_its_own_route_class() -> None:
    router = APIRouter(route_class=OwnRoute)
    router.get("/x", dependencies=[CACHE])(plain)
    app = app_of(router)
    with serving(app) as client:
        assert states(client, "/x", "/x") == ["MISS", "HIT"]


@ROUTE_CLASSES
@pytest.mark.parametrize("returns", [Product, Product | Response])
def test_a_route_without_a_response_model_gets_none(returns: Any, options: dict[str, Any]) -> None:
    router = APIRouter(**options)

    async def read() -> Any:
        return {"name": "tea", "price": 3}

    read.__annotations__["return"] = returns
    router.get("/x", dependencies=[CACHE], response_model=None)(read)
    with serving(app_of(router)) as client:
        for state in ("MISS", "HIT"):
            answer = client.get("/x")
            assert (state_of(answer), answer.json()) == (state, {"name": "tea", "price": 3})


def test_a_guard_that_was_put_into_a_route_by_hand_stays_there() -> None:
    def refuse() -> None:
        raise HTTPException(401)

    app = FastAPI()
    app.get("/x", dependencies=[CACHE])(plain)
    route = next(route for route in app.routes if isinstance(route, APIRoute))
    guard = get_parameterless_sub_dependant(depends=Depends(refuse), path="/x")
    route.dependant.dependencies.insert(0, guard)
    FastAPIRedis(app, settings()).lifespan().caching()
    with serving(app) as client:
        assert client.get("/x").status_code == 401


def test_other_dependencies_beside_it_run_every_time() -> None:
    runs = Runs()

    async def guard(x_deny: Annotated[bool, Header()] = False) -> None:
        runs.note()
        if x_deny:
            raise HTTPException(403)

    router = APIRouter(dependencies=[Depends(guard), CACHE])
    router.get("/x")(plain)
    with serving(app_of(router)) as client:
        assert states(client, "/x", "/x") == ["MISS", "HIT"]
        assert client.get("/x", headers={"x-deny": "true"}).status_code == 403
    assert len(runs) == 3


@ROUTE_CLASSES
def test_the_schema_is_that_of_the_app_without_caching(options: dict[str, Any]) -> None:
    def schema(*declarations: Any) -> Any:
        router = APIRouter(dependencies=list(declarations), **options)

        @router.get("/x/{item_id}")
        async def item(item_id: int, q: str = "") -> Product:
            return Product(name=q)

        @router.post("/x/{item_id}")
        async def post(item_id: int, body: Product) -> Product:
            return body

        app = new_app(using=settings(openapi=False))
        app.include_router(router)
        with serving(app) as client:
            return client.get("/openapi.json").json()

    assert schema(CACHE) == schema()


@ROUTE_CLASSES
def test_a_router_wide_cache_ignores_writes(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    runs = Runs()
    router = APIRouter(dependencies=[CACHE], **options)
    router.get("/x")(plain)

    async def write() -> Body:
        return {"run": runs.note()}

    for method in ("POST", "PUT", "PATCH", "DELETE"):
        router.add_api_route("/x", write, methods=[method])
    with serving(app_of(router)) as client:
        client.get("/x")
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            first, second = (client.request(method, "/x") for _ in range(2))
            assert first.json() != second.json()
            assert state_of(second) is None
        assert state_of(client.get("/x")) == "HIT"


def test_many_requests_compile_a_policy_once() -> None:
    router = APIRouter(dependencies=[CACHE])
    router.get("/x")(plain)
    app = app_of(router)
    with serving(app) as client:
        client.get("/x")
        (route,) = [r for r in router.routes if isinstance(r, CacheRoute)] or [
            r for r in app.routes if isinstance(r, CacheRoute)
        ]
        known = len(route._compiled)
        for _ in range(5):
            client.get("/x")
        assert len(route._compiled) == known


# -- without caching()


def test_without_caching_the_app_is_uncached_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = FastAPI()
    app.get("/x", dependencies=[Depends(cache(60))])(plain)
    with TestClient(app) as client:
        assert states(client, "/x", "/x") == [None, None]
    said = [r.getMessage() for r in caplog.records if r.name == "redis_fastapi"]
    assert len(said) == 1
    assert "FastAPIRedis(app).caching()" in said[0]


def test_without_a_lifespan_the_app_is_uncached_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = FastAPI()
    FastAPIRedis(app).caching()
    app.get("/x", dependencies=[Depends(cache(60))])(plain)
    with TestClient(app) as client:
        assert states(client, "/x", "/x") == [None, None]
    said = [r.getMessage() for r in caplog.records if r.name == "redis_fastapi"]
    assert len(said) == 1
    assert "FastAPIRedis(app).lifespan()" in said[0]


@pytest.mark.parametrize("method", ["put", "delete"])
def test_writes_without_caching_are_plain(method: str, caplog: pytest.LogCaptureFixture) -> None:
    app = FastAPI()
    app.put("/x", dependencies=[Depends(cache_put(60))])(plain)
    app.delete("/x", dependencies=[Depends(cache_evict())])(plain)
    with TestClient(app) as client:
        assert client.request(method, "/x").json() == {}
    assert any("caching()" in r.getMessage() for r in caplog.records)


# -- what can be said


@pytest.mark.parametrize("ttl", [0, timedelta(0)])
async def test_a_ttl_of_0_is_no_expiry(ttl: Any, fake_client: Redis) -> None:
    app = new_app(using=settings(default_ttl=30))
    app.get("/x", dependencies=[Depends(cache(ttl=ttl))])(plain)
    share_client(app, fake_client)
    async with calling(app) as client:
        await client.get("/x")
        hit = await client.get("/x")
    assert state_of(hit) == "HIT"
    assert not any(part.startswith("max-age") for part in directives_of(hit))
    (key,) = await keys_of(fake_client, "e:")
    assert await fake_client.pttl(key) > 29 * 24 * 3_600_000


@pytest.mark.parametrize(
    ("ttl", "seconds"), [(60, 60), (timedelta(minutes=2), 120), (None, 30)], ids=str
)
async def test_a_ttl_is_the_lifetime_in_redis_and_downstream(
    ttl: Any, seconds: int, fake_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_DEFAULT_TTL", "30")
    get_settings.cache_clear()
    app = new_app(using=settings(default_ttl=30))
    app.get("/x", dependencies=[Depends(cache(ttl))])(plain)
    share_client(app, fake_client)
    async with calling(app) as client:
        assert f"max-age={seconds}" in directives_of(await client.get("/x"))
    get_settings.cache_clear()
    (key,) = await keys_of(fake_client, "e:")
    assert (seconds - 20) * 1_000 < await fake_client.pttl(key) <= seconds * 1_000


def test_a_negative_ttl_is_refused() -> None:
    app = new_app()
    with pytest.raises(CacheDeclarationError, match="ttl=-1"):
        app.get("/x", dependencies=[Depends(cache(-1))])(plain)  # type: ignore[redis-cache-value]  # the mistake


def test_private_is_announced() -> None:
    app = new_app()
    app.get("/x", dependencies=[Depends(cache(60, private=True))])(plain)
    with serving(app) as client:
        assert directives_of(client.get("/x")) == {"private", "max-age=60"}


def test_when_decides_what_is_stored() -> None:
    app = new_app()

    async def found(q: int = 0) -> Body:
        return {"q": q}

    declared = cache(60, when=lambda result: result["q"] > 0)
    app.get("/x", dependencies=[Depends(declared)])(found)
    with serving(app) as client:
        assert states(client, "/x?q=1", "/x?q=1") == ["MISS", "HIT"]
        assert "HIT" not in states(client, "/x?q=0", "/x?q=0")


def test_a_marker_beside_a_dependency_wins() -> None:
    app = new_app()

    @app.get("/x", dependencies=[Depends(cache(60))])
    async def both() -> Annotated[Body, Cached(90)]:
        return {}

    with serving(app) as client:
        assert "max-age=90" in directives_of(client.get("/x"))


def test_a_dependency_nearer_to_the_endpoint_wins() -> None:
    router = APIRouter(dependencies=[Depends(cache(60))])
    router.get("/x", dependencies=[Depends(cache(90))])(plain)
    with serving(app_of(router)) as client:
        assert "max-age=90" in directives_of(client.get("/x"))


# -- prefixes


def app_with_prefixes() -> FastAPI:
    app = new_app()
    runs = Runs()

    async def counted(item_id: int) -> Body:
        return {"run": runs.note()}

    for method, declared in (
        ("GET", cache(60, prefix="a")),
        ("PUT", cache_put(60, prefix="a")),
        ("PATCH", cache_put(60)),
        ("DELETE", cache_evict(prefix="a", key_builder=default_key_builder)),
        ("POST", cache_evict(key_builder=default_key_builder)),
    ):
        app.add_api_route(
            "/items/{item_id}", counted, methods=[method], dependencies=[Depends(declared)]
        )
    return app


@pytest.mark.parametrize(
    ("method", "state"), [("DELETE", "MISS"), ("POST", "HIT"), ("PATCH", "HIT")]
)
def test_a_prefix_sets_entries_apart(method: str, state: str) -> None:
    with serving(app_with_prefixes()) as client:
        client.get("/items/1")
        client.request(method, "/items/1")
        assert state_of(client.get("/items/1")) == state


def test_a_put_with_the_prefix_writes_what_its_get_reads() -> None:
    with serving(app_with_prefixes()) as client:
        written = client.put("/items/1").json()
        after = client.get("/items/1")
        assert (state_of(after), after.json()) == ("HIT", written)


# -- key builders


def by_tenant(request: Request, eviction_group: str = "", prefix: str = "") -> str:
    tenant = request.headers.get("x-tenant", "")
    return f"{tenant}/{default_key_builder(request, eviction_group, prefix)}"


async def by_tenant_later(request: Request, eviction_group: str = "", prefix: str = "") -> str:
    await asyncio.sleep(0)
    return by_tenant(request, eviction_group, prefix)


def app_built_by(builder: Any) -> FastAPI:
    app = new_app()
    runs = Runs()
    said: dict[str, Any] = {"key_builder": builder, "eviction_group": "items"}

    async def counted(item_id: int) -> Body:
        return {"run": runs.note()}

    for method, declared in (
        ("GET", cache(60, **said)),
        ("PUT", cache_put(60, **said)),
        ("DELETE", cache_evict(**said)),
    ):
        app.add_api_route(
            "/items/{item_id}", counted, methods=[method], dependencies=[Depends(declared)]
        )
    app.delete("/items", dependencies=[Depends(cache_evict(eviction_group="items"))])(plain)
    return app


each_builder = pytest.mark.parametrize(
    "builder", [by_tenant, by_tenant_later], ids=["sync", "async"]
)


@each_builder
def test_a_key_builder_names_the_entry(builder: Any) -> None:
    with serving(app_built_by(builder)) as client:
        assert state_of(client.get("/items/1", headers={"x-tenant": "a"})) == "MISS"
        assert state_of(client.get("/items/1", headers={"x-tenant": "b"})) == "MISS"
        assert state_of(client.get("/items/1", headers={"x-tenant": "a"})) == "HIT"
        assert state_of(client.get("/items/2", headers={"x-tenant": "a"})) == "MISS"


@each_builder
def test_an_eviction_with_the_key_builder_reaches_the_entry_it_names(builder: Any) -> None:
    tenants = [{"x-tenant": name} for name in "ab"]
    with serving(app_built_by(builder)) as client:
        for headers in tenants:
            client.get("/items/1", headers=headers)
        client.delete("/items/1", headers=tenants[0])
        after = [state_of(client.get("/items/1", headers=headers)) for headers in tenants]
    assert after == ["MISS", "HIT"]


@each_builder
def test_a_put_with_the_key_builder_writes_the_entry_it_names(builder: Any) -> None:
    with serving(app_built_by(builder)) as client:
        written = client.put("/items/1", headers={"x-tenant": "a"}).json()
        after = client.get("/items/1", headers={"x-tenant": "a"})
        assert (state_of(after), after.json()) == ("HIT", written)


def test_a_put_without_a_group_passes_its_key_builder_that_of_the_get() -> None:
    app = new_app()
    runs = Runs()

    async def counted(item_id: int) -> Body:
        return {"run": runs.note()}

    read = cache(60, key_builder=by_tenant, eviction_group="items")
    app.get("/items/{item_id}", dependencies=[Depends(read)])(counted)
    app.put("/items/{item_id}", dependencies=[Depends(cache_put(key_builder=by_tenant))])(counted)
    with serving(app) as client:
        client.get("/items/1")
        written = client.put("/items/1").json()
        assert client.get("/items/1").json() == written


def test_a_put_whose_key_builder_is_shared_by_several_gets_evicts_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = app_built_by(by_tenant)
    app.get("/others", dependencies=[Depends(cache(60, key_builder=by_tenant))])(plain)
    with serving(app) as client:
        client.get("/items/1")
        client.put("/items/1")
        assert state_of(client.get("/items/1")) == "MISS"
    said = [r.getMessage() for r in caplog.records if "evicts instead" in r.getMessage()]
    assert said == [
        "PUT /items/{item_id} (counted): its key builder is that of no cached GET or of several, "
        "so which entry it writes is not known; it evicts instead"
    ]


@each_builder
def test_an_entry_named_by_a_key_builder_belongs_to_its_group(builder: Any) -> None:
    with serving(app_built_by(builder)) as client:
        client.get("/items/1")
        client.delete("/items")
        assert state_of(client.get("/items/1")) == "MISS"


def test_a_key_builder_that_raises_is_a_warning_and_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(request: Request, eviction_group: str = "", prefix: str = "") -> str:
        raise KeyError("tenant")

    with serving(app_built_by(broken)) as client:
        for _ in range(2):
            answer = client.get("/items/1")
            assert (answer.status_code, state_of(answer)) == (200, "BYPASS")
        assert client.put("/items/1").status_code == 200
        assert client.delete("/items/1").status_code == 200
    said = [r.getMessage() for r in caplog.records if "no key for a request" in r.getMessage()]
    assert len(said) == 1


def test_parameters_of_the_endpoint_select_the_variant_beside_a_key_builder() -> None:
    def constant(request: Request, eviction_group: str = "", prefix: str = "") -> str:
        return "constant"

    app = new_app()

    @app.get("/x", dependencies=[Depends(cache(60, key_builder=constant))])
    async def greet(accept_language: Annotated[str, Header()]) -> Body:
        return {"language": accept_language}

    with serving(app) as client:
        found = [
            client.get("/x", headers={"accept-language": language}).json()["language"]
            for language in ("de", "fr", "de")
        ]
    assert found == ["de", "fr", "de"]


def test_a_decorator_that_reads_the_request_is_warned_about_at_start_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_app()

    @app.get("/x", dependencies=[Depends(cache(60, shared=True))])
    @requires("signed-in")
    async def read(request: Request) -> Body:
        return {}

    start_up(app)
    said = [r.getMessage() for r in caplog.records if "a hit does not run" in r.getMessage()]
    assert said == [
        "GET /x (read): @requires is part of the endpoint, which a hit does not run. "
        "Check the same by a dependency"
    ]


TENANT: ContextVar[str] = ContextVar("tenant")


async def tenant_for_the_time(x_tenant: Annotated[str, Header()] = "") -> AsyncIterator[None]:
    token = TENANT.set(x_tenant)
    yield
    TENANT.reset(token)


async def session_for_the_time() -> AsyncIterator[None]:
    yield


def checked_token(
    session: Annotated[None, Depends(session_for_the_time)], x_token: Annotated[str, Header()] = ""
) -> None:
    """A guard whose own part is over before the endpoint runs."""


PAGE: ContextVar[int] = ContextVar("page")


async def page_for_the_time(page: int = 1) -> AsyncIterator[None]:
    token = PAGE.set(page)
    yield
    PAGE.reset(token)


def asked_page(page: int = 1) -> int:
    return page


async def received_page_for_the_time(
    page: Annotated[int, Depends(asked_page)],
) -> AsyncIterator[None]:
    token = PAGE.set(page)
    yield
    PAGE.reset(token)


async def page_from_now_on(page: int = 1) -> None:
    PAGE.set(page)


@both_doors
@pytest.mark.parametrize("guard", [page_for_the_time, received_page_for_the_time])
def test_a_query_parameter_that_a_guard_with_yield_reads_selects(guard: Any, door: Door) -> None:
    app = new_app()

    @door.get(app, "/teas", dependencies=(Depends(guard),), shared=True)
    async def get_teas() -> Body:
        return {"page": PAGE.get()}

    with serving(app) as client:
        found = [client.get("/teas", params={"page": page}) for page in (1, 2, 1, 2, "x")]
    assert [answer.json().get("page") for answer in found] == [1, 2, 1, 2, None]
    assert [state_of(answer) for answer in found] == ["MISS", "MISS", "HIT", "HIT", None]


@pytest.mark.parametrize(
    ("guard", "marker", "named"),
    [
        (tenant_for_the_time, Cached(60), ["x-tenant"]),
        (tenant_for_the_time, Cached(60, shared=True), []),
        (session_for_the_time, Cached(60), []),
        (page_for_the_time, Cached(60), []),
        (page_from_now_on, Cached(60), ["page"]),
        (checked_token, Cached(60), []),
    ],
)
def test_a_guard_that_may_pass_on_what_it_reads_is_warned_about_at_start_up(
    caplog: pytest.LogCaptureFixture, guard: Any, marker: Cached, named: list[str]
) -> None:
    app = new_app()

    @app.get("/x", dependencies=[Depends(guard)])
    async def read() -> Annotated[Body, marker]:
        return {}

    start_up(app)
    said = [r.getMessage() for r in caplog.records if "receive it as a parameter" in r.getMessage()]
    assert [name for one in said for name in re.findall("([a-z-]+), which selects", one)] == named


# -- evictions


def app_with_groups() -> FastAPI:
    app = new_app()
    app.get("/a/{item_id}", dependencies=[Depends(cache(60, eviction_group="a"))])(by_id)
    app.get("/b/{item_id}", dependencies=[Depends(cache(60, eviction_group="b"))])(by_id)
    app.get("/ab/{item_id}", dependencies=[Depends(cache(60, eviction_group="a", group="b"))])(
        by_id
    )
    app.get("/none/{item_id}", dependencies=[Depends(cache(60))])(by_id)
    evictions = {
        "a": cache_evict(eviction_group="a"),
        "both": cache_evict(eviction_group="a", group=("b",)),
        "all": cache_evict(),
        "never": cache_evict(when=lambda result: False),
        "never group": cache_evict(eviction_group="a", when=lambda result: False),
    }
    for name, declared in evictions.items():
        app.post(f"/evict/{name}", dependencies=[Depends(declared)])(plain)
    return app


async def by_id(item_id: int) -> Body:
    return {"id": item_id}


@pytest.mark.parametrize(
    ("eviction", "gone"),
    [
        ("a", {"/a/1", "/a/2", "/ab/1"}),
        ("both", {"/a/1", "/a/2", "/ab/1", "/b/1"}),
        ("all", {"/a/1", "/a/2", "/ab/1", "/b/1", "/none/1"}),
        ("never", set()),
        ("never group", set()),
    ],
)
def test_an_eviction_without_a_key_builder_clears_its_groups_or_all(
    eviction: str, gone: set[str]
) -> None:
    paths = ("/a/1", "/a/2", "/ab/1", "/b/1", "/none/1")
    with serving(app_with_groups()) as client:
        states(client, *paths)
        assert states(client, *paths) == ["HIT"] * len(paths)
        client.post(f"/evict/{eviction}")
        after = {path for path in paths if state_of(client.get(path)) == "MISS"}
    assert after == gone


def test_an_endpoint_that_fails_evicts_nothing() -> None:
    app = new_app()
    app.get("/x", dependencies=[Depends(cache(60))])(plain)

    @app.delete("/x", dependencies=[Depends(cache_evict())])
    async def fails() -> None:
        raise HTTPException(409)

    with serving(app) as client:
        client.get("/x")
        assert client.delete("/x").status_code == 409
        assert state_of(client.get("/x")) == "HIT"


def test_an_eviction_of_the_path_reaches_every_variant() -> None:
    app = new_app()

    @app.get("/x", dependencies=[Depends(cache(60))])
    async def by_header(q: str = "", accept_language: Annotated[str, Header()] = "") -> Body:
        return {}

    evict = Depends(cache_evict(key_builder=default_key_builder))
    app.delete("/x", dependencies=[evict])(plain)
    variants: list[dict[str, Any]] = [
        {},
        {"params": {"q": "a"}},
        {"headers": {"accept-language": "de"}},
    ]
    with serving(app) as client:
        for variant in variants:
            client.get("/x", **variant)
            assert state_of(client.get("/x", **variant)) == "HIT"
        client.delete("/x")
        assert [state_of(client.get("/x", **variant)) for variant in variants] == ["MISS"] * 3


@pytest.mark.parametrize("place", ["router", "include"])
def test_a_router_wide_eviction_evicts_after_every_write(place: str) -> None:
    evict = [Depends(cache_evict(eviction_group="g"))]
    router = APIRouter(dependencies=evict if place == "router" else None)
    router.post("/write")(plain)
    app = app_of(router, dependencies=evict if place == "include" else None)
    app.get("/x", dependencies=[CACHE])(plain)
    with serving(app) as client:
        client.get("/x")
        client.post("/write")
        assert state_of(client.get("/x")) == "MISS"


def test_braces_in_a_group_of_a_dependency_are_text() -> None:
    app = new_app()
    app.get("/x/{item_id}", dependencies=[Depends(cache(60, eviction_group="g:{item_id}"))])(by_id)
    app.delete("/x", dependencies=[Depends(cache_evict(eviction_group="g:{item_id}"))])(plain)
    with serving(app) as client:
        client.get("/x/1")
        client.delete("/x")
        assert state_of(client.get("/x/1")) == "MISS"


def test_a_declaration_error_of_a_late_route_is_found_at_start_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_app()

    @app.put("/nothing/{item_id}", dependencies=[Depends(cache_put(60))])
    async def put(item_id: int) -> Body:
        return {}

    with caplog.at_level(logging.WARNING, "redis_fastapi"):
        start_up(app)
    assert any("no cached GET" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("place", ["router", "include"])
async def test_a_router_wide_cache_leaves_streams_and_forms_as_they_are(
    place: str, in_memory: Any, caplog: pytest.LogCaptureFixture
) -> None:
    declared = [Depends(cache(ttl=60))]
    router = APIRouter(route_class=CacheRoute, dependencies=declared if place == "router" else None)

    @router.get("/stream")
    async def stream() -> Any:
        yield "a"

    @router.get("/listed")
    async def listed() -> list[str]:
        return ["a"]

    app = FastAPI()
    FastAPIRedis(app).lifespan().caching()
    app.include_router(router, dependencies=declared if place == "include" else None)
    with TestClient(app) as client:
        client.get("/listed")
        assert client.get("/listed").headers["x-redis-cache"] == "HIT"
    streams = [record for record in caplog.records if "streams its response" in record.getMessage()]
    assert len(streams) >= 1
