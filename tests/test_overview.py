"""What start-up reports about all routes together, and when it reports nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.routing import Host, Mount

from apps import Product, cache_router, caching_app, memory_settings, serving
from redis_fastapi import (
    AsyncRedisDep,
    CacheBackendDep,
    Cached,
    CacheDeclarationError,
    CacheEvict,
    CachePut,
    cache,
    cache_evict,
)


def reader(router: FastAPI | APIRouter, marker: Cached, path: str = "/p/{product_id}") -> None:
    async def read(product_id: int = 1) -> Product:
        return Product(id=product_id)

    read.__annotations__["return"] = Annotated[Product, marker]
    router.get(path)(read)


def evictor(router: FastAPI | APIRouter, marker: CacheEvict, path: str = "/w/{product_id}") -> None:
    async def write(product_id: int = 1) -> None: ...

    write.__annotations__["return"] = Annotated[None, marker]
    router.delete(path)(write)


def said_of_evictor(what: str, meant: str | None) -> str:
    """The warning that names the evictor, and what it may have meant."""
    hint = f"; did you mean {meant!r}?" if meant else ""
    return f"DELETE /w/{{product_id}} (write): {what}{hint}"


async def warnings_of(app: FastAPI, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    async with serving(app):
        return [one.getMessage() for one in caplog.records if one.module == "runtime"]


@pytest.mark.parametrize(
    ("filled", "evicted", "meant"),
    [
        ("products", "product", "products"),
        ("product:{product_id}", "products:{product_id}", "product:{}"),
        ("products", "orders", None),
    ],
)
async def test_an_eviction_of_a_group_without_entries_is_a_warning(
    filled: str, evicted: str, meant: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    app = caching_app()
    reader(app, Cached(ttl=60, group=filled))
    evictor(app, CacheEvict(group=evicted))

    (message,) = await warnings_of(app, caplog)

    assert message == said_of_evictor(f"evicts group {evicted!r}, which no GET fills", meant)


@pytest.mark.parametrize(
    ("filled", "evicted"),
    [
        ("products", "products"),
        ("product:{product_id}", "product:{product_id}"),
        ("product:{product_id}", "product:7"),
        ("all", "{product_id}"),
        (("a", "b"), "b"),
    ],
)
async def test_an_eviction_that_may_match_a_filled_group_is_accepted(
    filled: str | tuple[str, ...], evicted: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = caching_app()
    reader(app, Cached(ttl=60, group=filled))
    evictor(app, CacheEvict(group=evicted))

    assert await warnings_of(app, caplog) == []


async def test_templates_match_whatever_their_parameters_are_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = caching_app()
    reader(app, Cached(ttl=60, group="product:{product_id}"))

    @app.delete("/other/{number}")
    async def write(number: int) -> Annotated[None, CacheEvict(group="product:{number}")]: ...

    assert await warnings_of(app, caplog) == []


@pytest.mark.parametrize("injected", [CacheBackendDep, AsyncRedisDep])
async def test_groups_that_code_may_fill_by_hand_are_its_own_business(
    injected: object, caplog: pytest.LogCaptureFixture
) -> None:
    app = caching_app()
    evictor(app, CacheEvict(group="by hand"))

    async def fill(cache: object) -> None: ...

    fill.__annotations__["cache"] = injected
    app.post("/fill")(fill)

    assert await warnings_of(app, caplog) == []


@pytest.mark.parametrize(
    ("read", "evicted", "meant"),
    [
        (Cached(ttl=60), "/product/{product_id}", "/products/{product_id}"),
        (Cached(ttl=60), "/products/{product_id}/", "/products/{product_id}"),
        (Cached(ttl=60, key="/teas/{product_id}"), "/tea/{product_id}", "/teas/{product_id}"),
        (Cached(ttl=60, key="/teas/{product_id}"), "/orders", None),
    ],
)
async def test_an_eviction_of_a_path_that_no_cached_get_serves_is_a_warning(
    read: Cached, evicted: str, meant: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    app = caching_app()
    reader(app, read, "/products/{product_id}")
    evictor(app, CacheEvict(key=evicted))

    (message,) = await warnings_of(app, caplog)

    assert message == said_of_evictor(f"evicts path {evicted!r}, which no cached GET serves", meant)


@pytest.mark.parametrize(
    ("served", "evicted"),
    [
        ("/p/{product_id:int}", "/p/{product_id}"),
        ("/p/{product_id}", "/p/7"),
        ("/p/7", "/p/{product_id}"),
        ("/{product_id}/p", "/shop/{product_id}"),
        ("/{product_id:path}", "/p/q/{product_id}"),
    ],
)
async def test_an_eviction_of_a_path_that_a_cached_get_may_serve_is_accepted(
    served: str, evicted: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = caching_app()
    reader(app, Cached(ttl=60), served)
    evictor(app, CacheEvict(key=evicted))

    assert await warnings_of(app, caplog) == []


async def test_an_eviction_reaches_the_paths_of_an_endpoint_that_is_a_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = caching_app()

    @app.get("/plain/{product_id}")
    async def plain(product_id: int) -> Product:
        return Product(id=product_id)

    reader(app, Cached(ttl=60, key=plain))
    evictor(app, CacheEvict(key="/plain/{product_id}"))

    assert await warnings_of(app, caplog) == []


async def test_dependencies_fill_and_evict_groups_too(caplog: pytest.LogCaptureFixture) -> None:
    app = caching_app()

    @app.get("/a", dependencies=[Depends(cache(ttl=60, eviction_group="a"))])
    async def read() -> Product:
        return Product(id=1)

    @app.delete("/a", dependencies=[Depends(cache_evict(eviction_group="b"))])
    async def write() -> None: ...

    (message,) = await warnings_of(app, caplog)

    assert "evicts group 'b', which no GET fills" in message


async def test_entries_that_never_expire_and_are_never_evicted_are_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = caching_app()
    reader(app, Cached(group="products"))

    (message,) = await warnings_of(app, caplog)

    assert message.startswith("GET /p/{product_id} (read): no write evicts its group 'products'")
    assert "ttl" in message


@pytest.mark.parametrize(
    "marker", [Cached(ttl=60, group="a"), Cached(timedelta(hours=1), group="a"), Cached()]
)
async def test_entries_that_expire_or_are_in_no_group_are_accepted(
    marker: Cached, caplog: pytest.LogCaptureFixture
) -> None:
    app = caching_app()
    reader(app, marker)

    assert await warnings_of(app, caplog) == []


async def test_a_default_ttl_is_a_ttl(caplog: pytest.LogCaptureFixture) -> None:
    app = caching_app(memory_settings(default_ttl=60))
    reader(app, Cached(group="products"))

    assert await warnings_of(app, caplog) == []


@pytest.mark.parametrize(
    "marker",
    [
        CacheEvict(group="products"),
        CacheEvict(key="/p/{product_id}"),
    ],
)
async def test_entries_that_a_write_evicts_are_accepted(
    marker: CacheEvict, caplog: pytest.LogCaptureFixture
) -> None:
    app = caching_app()
    reader(app, Cached(group="products"))
    evictor(app, marker)

    assert await warnings_of(app, caplog) == []


async def test_evicting_everything_evicts_every_group(caplog: pytest.LogCaptureFixture) -> None:
    app = caching_app()
    reader(app, Cached(group="products"))

    @app.delete("/all", dependencies=[Depends(cache_evict())])
    async def write() -> None: ...

    assert await warnings_of(app, caplog) == []


async def test_two_gets_of_one_key_are_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    app = caching_app()
    for version in ("v1", "v2"):
        reader(app, Cached(ttl=60, key="/products/{product_id}"), f"/{version}/{{product_id}}")

    (message,) = await warnings_of(app, caplog)

    assert message.startswith("GET /v2/{product_id} (read): has the key of GET /v1/{product_id}")


async def test_the_second_get_of_a_path_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    app = caching_app()
    reader(app, Cached(ttl=60))
    reader(app, Cached(ttl=60), "/p/{number}")

    (message,) = await warnings_of(app, caplog)

    assert "GET /p/{number} (read): has the key of GET /p/{product_id} (read)" in message


def tenant(name: str, marker: Cached) -> FastAPI:
    """An application like that of every other tenant, made by the same lines."""
    app = caching_app()

    async def read() -> str:
        return name

    read.__annotations__["return"] = Annotated[str, marker]
    app.get("/x")(read)
    return app


def tenants(by: str, *markers: Cached) -> FastAPI:
    app = caching_app()
    for name, marker in zip("ab", markers, strict=True):
        below = tenant(name, marker)
        route = Host(f"{name}.example", below) if by == "host" else Mount(f"/{name}", below)
        app.router.routes.append(route)
    return app


@pytest.mark.parametrize(
    ("by", "marker"), [("host", Cached(ttl=60)), ("mount", Cached(ttl=60, key="/shared"))]
)
async def test_two_gets_of_one_key_and_name_that_requests_reach_are_an_error(
    by: str, marker: Cached
) -> None:
    with pytest.raises(CacheDeclarationError, match="redis-cache-same-key"):
        async with serving(tenants(by, marker, marker)):
            pass


async def test_hosts_with_keys_of_their_own_do_not_mix() -> None:
    app = tenants("host", Cached(ttl=60, key="/a/x"), Cached(ttl=60, key="/b/x"))
    async with serving(app) as http:
        for name in "abab":
            answer = await http.get("/x", headers={"host": f"{name}.example"})
            assert answer.json() == name


async def test_paths_that_differ_by_what_they_match_do_not_share(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = caching_app()
    reader(app, Cached(ttl=60), "/p/{product_id:int}")

    @app.get("/p/{name}")
    async def by_name(name: str) -> Annotated[Product, Cached(ttl=60)]:
        return Product(id=1, name=name)

    assert await warnings_of(app, caplog) == []


async def test_one_router_at_two_places_shares_nothing(caplog: pytest.LogCaptureFixture) -> None:
    app = caching_app()
    router = cache_router()
    reader(router, Cached(ttl=60))
    app.include_router(router, prefix="/a")
    app.include_router(router, prefix="/b")

    assert await warnings_of(app, caplog) == []


async def test_a_put_whose_get_varies_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    app = caching_app()

    @app.get("/p/{product_id}")
    async def read(product_id: int, lang: str = "en") -> Annotated[Product, Cached(ttl=60)]:
        return Product(id=product_id)

    @app.put("/p/{product_id}")
    async def write(product_id: int) -> Annotated[Product, CachePut()]:
        return Product(id=product_id)

    (message,) = await warnings_of(app, caplog)

    assert "varies by more than its path" in message


async def test_a_finding_is_logged_once_however_often_a_route_is_included(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = caching_app()
    evictor(app, CacheEvict(group=("lost", "lost")))

    assert len(await warnings_of(app, caplog)) == 1


async def test_under_strict_every_finding_is_an_error() -> None:
    app = caching_app(memory_settings(strict=True))
    reader(app, Cached(ttl=60, group="products"))
    evictor(app, CacheEvict(group="product"))

    with pytest.raises(CacheDeclarationError) as caught:
        async with serving(app):
            pass

    assert caught.value.code == "redis-cache-unfilled"
    assert caught.value.route == "DELETE /w/{product_id} (write)"
    assert "did you mean 'products'?" in caught.value.problem
