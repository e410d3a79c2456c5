"""What writes do to what is cached, by the rules of HTTP."""

from collections.abc import Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, HTTPException, Response

from apps import caching_app, memory_settings, serving, state_of
from redis_fastapi import Cached, CachePut, CacheRoute, InvalidatingRoute

READ = {"/things/1", "/things/2", "/list"}


def add_things(router: APIRouter) -> None:
    """Cached reads, and writes that carry no marker."""

    @router.get("/things/{thing}")
    async def get_thing(thing: int, shape: str = "") -> Annotated[str, Cached(60)]:
        return f"{thing} {shape}"

    @router.get("/list")
    async def get_list() -> Annotated[str, Cached(60)]:
        return "things"

    async def write(thing: int, status: int = 200) -> Response:
        return Response(status_code=status)

    for method in ("PUT", "PATCH", "DELETE"):
        router.add_api_route("/things/{thing}", write, methods=[method])

    @router.post("/list", status_code=201)
    async def create(response: Response, location: str, field: str = "location") -> None:
        response.headers[field] = location

    @router.post("/things/{thing}")
    async def fail(thing: int) -> None:
        raise HTTPException(409)


def app_of(route_class: type[CacheRoute], prefix: str = "", **settings: Any) -> FastAPI:
    app, router = caching_app(memory_settings(**settings)), APIRouter(route_class=route_class)
    add_things(router)
    app.include_router(router, prefix=prefix)
    return app


async def left_after(app: FastAPI, write: Callable[[Any], Any], prefix: str = "") -> set[str]:
    """Paths that are still hits after a write."""
    async with serving(app) as http:
        for path in READ:
            await http.get(prefix + path)
        await write(http)
        return {path for path in READ if state_of(await http.get(prefix + path)) == "HIT"}


# Invalidation (RFC 9111 section 4.4)


@pytest.mark.parametrize("prefix", ["", "/shop"])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_a_write_without_a_marker_invalidates_its_path(method: str, prefix: str) -> None:
    app = app_of(InvalidatingRoute, prefix)
    left = await left_after(app, lambda http: http.request(method, f"{prefix}/things/1"), prefix)

    assert left == READ - {"/things/1"}


async def test_every_variant_of_the_path_is_invalidated() -> None:
    async with serving(app_of(InvalidatingRoute)) as http:
        await http.get("/things/1?shape=round")
        await http.put("/things/1")

        assert state_of(await http.get("/things/1?shape=round")) == "MISS"


@pytest.mark.parametrize(
    "location", ["/things/1", "http://testserver/things/1", "things/1", "/things/01"]
)
@pytest.mark.parametrize("field", ["location", "content-location"])
async def test_what_the_answer_names_on_the_same_origin_is_invalidated(
    location: str, field: str
) -> None:
    asked = {"location": location, "field": field}
    left = await left_after(
        app_of(InvalidatingRoute), lambda http: http.post("/list", params=asked)
    )

    assert left == {"/things/2"}


@pytest.mark.parametrize("location", ["http://elsewhere/things/1", "http://[", "//"])
async def test_what_the_answer_names_elsewhere_is_not_invalidated(location: str) -> None:
    asked = {"location": location}
    left = await left_after(
        app_of(InvalidatingRoute), lambda http: http.post("/list", params=asked)
    )

    assert left == READ - {"/list"}


@pytest.mark.parametrize(
    "write",
    [lambda http: http.put("/things/1?status=500"), lambda http: http.post("/things/1")],
    ids=["answered", "raised"],
)
async def test_a_failed_write_invalidates_nothing(write: Callable[[Any], Any]) -> None:
    assert await left_after(app_of(InvalidatingRoute), write) == READ


async def test_control_a_plain_cache_route_invalidates_nothing_by_itself() -> None:
    assert await left_after(app_of(CacheRoute), lambda http: http.put("/things/1")) == READ


async def test_a_put_stays_where_it_was_written() -> None:
    app, router = caching_app(), APIRouter(route_class=InvalidatingRoute)

    @router.get("/thing")
    async def get() -> Annotated[str, Cached(60)]:
        return "old"

    @router.put("/thing")
    async def put() -> Annotated[str, CachePut()]:
        return "new"

    app.include_router(router)
    async with serving(app) as http:
        await http.put("/thing")
        read = await http.get("/thing")

        assert (state_of(read), read.json()) == ("HIT", "new")


def test_openapi_of_an_invalidating_router_is_that_of_a_plain_one() -> None:
    plain = FastAPI()
    router = APIRouter()
    add_things(router)
    plain.include_router(router)

    written = app_of(InvalidatingRoute, openapi=False).openapi()["paths"]["/list"]["post"]
    assert written == plain.openapi()["paths"]["/list"]["post"]
