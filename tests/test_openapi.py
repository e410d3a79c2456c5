"""OpenAPI documents describe the declarations; what the author wrote stays."""

import copy
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Header
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from apps import Product, cache_router, caching_app, memory_settings, serving
from endpoint_forms import FORMS, bench_on
from redis_fastapi import Cached, CacheEvict, CachePut, cache, redis_lifespan

ADDED_STATUSES = {"304", "412", "503", "504"}


def without_cache(document: dict[str, Any]) -> dict[str, Any]:
    """A document less all that caching may add."""
    document = copy.deepcopy(document)
    components = document.get("components", {})
    components.pop("headers", None)
    components.pop("parameters", None)
    if not components:
        document.pop("components", None)
    for item in document["paths"].values():
        for operation in item.values():
            _strip(operation)
    return document


def _strip(operation: dict[str, Any]) -> None:
    operation.pop("x-cache", None)
    responses = operation["responses"]
    for status in ADDED_STATUSES & responses.keys():
        del responses[status]
    for response in responses.values():
        response.pop("headers", None)
    kept = [one for one in operation.pop("parameters", ()) if "$ref" not in one]
    if kept:
        operation["parameters"] = kept


def validated(document: dict[str, Any]) -> dict[str, Any]:
    """The document, which an OpenAPI validator takes; the oldest set of dependencies has none."""
    if find_spec("openapi_spec_validator"):
        import_module("openapi_spec_validator").validate(document)
    return document


def shelf(app: FastAPI | APIRouter) -> None:
    """A read and two writes of one path."""

    @app.get("/products/{product_id}")
    async def get_product(
        product_id: int, lang: Annotated[str, Header()] = "en"
    ) -> Annotated[Product, Cached(ttl=300, group=("products", "product:{product_id}"))]:
        return Product(id=product_id)

    @app.put("/products/{product_id}")
    async def put_product(
        product_id: int, product: Product
    ) -> Annotated[Product, CachePut(strict=True)]:
        return product

    @app.delete("/products/{product_id}")
    async def delete_product(
        product_id: int,
    ) -> Annotated[None, CacheEvict(key=get_product), CacheEvict(group="product:{product_id}")]: ...


# What is told


def test_a_read_documents_lifetime_groups_and_selectors() -> None:
    app = caching_app()
    shelf(app)
    operation = app.openapi()["paths"]["/products/{product_id}"]["get"]

    assert operation["x-cache"] == {
        "ttl": 300,
        "groups": ["products", "product:{product_id}"],
        "vary": ["header lang"],
    }
    told = {"ETag", "Cache-Control", "Age", "Vary", "X-Redis-Cache", "Cache-Status"}
    assert operation["responses"]["200"]["headers"].keys() == told
    assert operation["responses"]["304"]["headers"].keys() == told
    assert {"304", "412", "504"} <= operation["responses"].keys()
    references = [
        one["$ref"].rpartition(".")[2] for one in operation["parameters"] if "$ref" in one
    ]
    assert references == ["If-None-Match", "Cache-Control"]


def test_a_write_documents_what_it_writes_and_evicts() -> None:
    app = caching_app()
    shelf(app)
    item = app.openapi()["paths"]["/products/{product_id}"]

    assert item["put"]["x-cache"] == {"evicts": [], "writes": "/products/{product_id}"}
    assert item["delete"]["x-cache"] == {
        "evicts": ["key get_product()", "group product:{product_id}"]
    }
    assert "503" in item["put"]["responses"]
    assert ADDED_STATUSES.isdisjoint(item["delete"]["responses"])


def test_a_write_under_preconditions_documents_if_match_and_412() -> None:
    app = caching_app()

    @app.get("/p")
    async def read() -> Annotated[int, Cached(60)]:
        return 1

    @app.put("/p")
    async def write() -> Annotated[int, CachePut(preconditions=True)]:
        return 1

    operation = validated(app.openapi())["paths"]["/p"]["put"]

    assert [one["$ref"] for one in operation["parameters"]] == [
        "#/components/parameters/RedisCache.If-Match"
    ]
    assert "412" in operation["responses"]


def test_a_document_with_every_marker_is_valid() -> None:
    validated(import_module("shop.main").app.openapi())


@pytest.mark.parametrize("name", FORMS)
def test_nothing_that_the_author_wrote_is_changed(name: str) -> None:
    plain, marked = FastAPI(), caching_app()
    bench_on(plain, name, marked=False)
    bench_on(marked, name, marked=True)
    document = marked.openapi()

    assert ("x-cache" in repr(document)) == bool(document["paths"])
    assert without_cache(document) == plain.openapi()
    validated(document)


def test_headers_and_responses_of_the_author_win() -> None:
    app = caching_app()

    @app.get(
        "/p",
        responses={
            200: {"headers": {"etag": {"description": "mine", "schema": {"type": "string"}}}},
            304: {"description": "mine"},
        },
        openapi_extra={"x-cache": "mine"},
    )
    async def read(if_none_match: Annotated[str, Header()] = "") -> Annotated[int, Cached(60)]:
        return 1

    operation = app.openapi()["paths"]["/p"]["get"]

    assert operation["responses"]["200"]["headers"]["etag"]["description"] == "mine"
    assert "ETag" not in operation["responses"]["200"]["headers"]
    assert operation["responses"]["304"]["description"] == "mine"
    assert operation["x-cache"] == "mine"
    assert len(operation["parameters"]) == 2


# Settings


@pytest.mark.parametrize("switch", ["openapi", "enabled"])
def test_switched_off_nothing_is_reported(switch: str) -> None:
    app = caching_app(memory_settings(**{switch: False}))
    shelf(app)

    assert "RedisCache" not in repr(app.openapi())
    assert "x-cache" not in repr(app.openapi())


def test_ignored_request_directives_are_not_documented() -> None:
    app = caching_app(memory_settings(obey_client_directives=False, default_ttl=90))

    @app.get("/p")
    async def read() -> Annotated[int, Cached()]:
        return 1

    operation = app.openapi()["paths"]["/p"]["get"]

    assert operation["x-cache"]["ttl"] == 90
    assert "504" not in operation["responses"]
    assert [one["$ref"] for one in operation["parameters"]] == [
        "#/components/parameters/RedisCache.If-None-Match"
    ]


def test_stale_windows_are_announced() -> None:
    app = caching_app()

    @app.get("/p")
    async def read() -> Annotated[int, Cached(60, stale_while_revalidate=30, stale_if_error=90)]:
        return 1

    told = app.openapi()["paths"]["/p"]["get"]["x-cache"]

    assert (told["stale_while_revalidate"], told["stale_if_error"]) == (30, 90)


def test_without_a_lifetime_the_document_has_none() -> None:
    app = caching_app()

    @app.get("/p")
    async def read() -> Annotated[int, Cached()]:
        return 1

    assert app.openapi()["paths"]["/p"]["get"]["x-cache"]["ttl"] is None


# Where a route stands


def test_routes_shows_nested_routers_at_their_full_paths() -> None:
    app = caching_app()
    router, outer = cache_router(), APIRouter(prefix="/outer")
    shelf(router)
    outer.include_router(router, prefix="/inner")
    app.include_router(outer)

    item = app.openapi()["paths"]["/outer/inner/products/{product_id}"]

    assert item["get"]["x-cache"]["groups"] == ["products", "product:{product_id}"]
    assert item["put"]["x-cache"]["writes"] == "/outer/inner/products/{product_id}"


async def test_what_an_inclusion_declares_is_documented() -> None:
    app, router = caching_app(), APIRouter()

    @router.get("/p")
    async def read() -> int:
        return 1

    app.include_router(router, prefix="/in", dependencies=[Depends(cache(60, group="all"))])

    async with serving(app) as http:
        document = (await http.get("/openapi.json")).json()
    assert document["paths"]["/in/p"]["get"]["x-cache"]["groups"] == ["all"]


@pytest.mark.filterwarnings("ignore:Duplicate Operation ID")
def test_of_several_methods_only_get_is_served_from_the_cache() -> None:
    app = caching_app()

    @app.api_route(
        "/p",
        methods=["GET", "POST"],
        dependencies=[Depends(cache(60))],
    )
    async def read() -> int:
        return 1

    item = app.openapi()["paths"]["/p"]

    assert "x-cache" in item["get"]
    assert "x-cache" not in item["post"]


def test_a_convertor_in_the_path_is_no_obstacle() -> None:
    app = caching_app()

    @app.get("/files/{name:path}")
    async def read(name: str) -> Annotated[str, Cached(60)]:
        return name

    assert "x-cache" in app.openapi()["paths"]["/files/{name}"]["get"]


async def test_a_lifespan_set_up_and_a_mounted_application_report_events() -> None:
    app, inner = FastAPI(lifespan=redis_lifespan), FastAPI()
    for one in (app, inner):
        router = cache_router()
        shelf(router)
        one.include_router(router)
    app.mount("/inner", inner)

    async with serving(app) as http:
        for path in ("/openapi.json", "/inner/openapi.json"):
            document = (await http.get(path)).json()
            assert "x-cache" in document["paths"]["/products/{product_id}"]["get"]


def titled(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "info": {"title": "own", "version": "1"}}


@pytest.mark.parametrize("built_on", ["the routes", "what was there"])
async def test_an_openapi_of_the_users_own_is_kept(built_on: str) -> None:
    app = caching_app()
    shelf(app)
    there = app.openapi

    def own_openapi() -> dict[str, Any]:
        if built_on == "what was there":
            return titled(there())
        return titled(get_openapi(title="", version="", routes=app.routes))

    app.openapi = own_openapi  # type: ignore[method-assign]  # as FastAPI documents it
    async with serving(app) as http:
        document = validated((await http.get("/openapi.json")).json())

    operation = document["paths"]["/products/{product_id}"]["get"]
    assert document["info"]["title"] == "own"
    assert operation["x-cache"]["ttl"] == 300
    assert sum("$ref" in one for one in operation["parameters"]) == 2


def test_a_document_is_made_once_and_anew_for_new_routes() -> None:
    app = caching_app()
    shelf(app)
    document = app.openapi()
    assert app.openapi() is document

    @app.get("/more")
    async def more() -> Annotated[int, Cached(60)]:
        return 1

    app.openapi_schema = None
    assert "x-cache" in app.openapi()["paths"]["/more"]["get"]


def test_a_route_that_is_not_ours_is_left_alone() -> None:
    app = caching_app()

    class Own(APIRoute):
        pass

    router = APIRouter(route_class=Own)

    @router.get("/plain")
    def plain() -> int:
        return 1

    app.include_router(router)
    plain_app = FastAPI()
    plain_app.include_router(router)

    assert app.openapi() == plain_app.openapi()
