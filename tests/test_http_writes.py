"""What writes do to what is cached, by the rules of HTTP."""

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response

from apps import caching_app, memory_settings, serving, state_of
from redis_fastapi import (
    Cached,
    CacheEvict,
    CachePut,
    CacheRoute,
    InvalidatingRoute,
    cache_put,
)
from support import Runs, start_up

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
async def test_paths_of_the_same_origin_in_a_response_are_invalidated(
    location: str, field: str
) -> None:
    asked = {"location": location, "field": field}
    left = await left_after(
        app_of(InvalidatingRoute), lambda http: http.post("/list", params=asked)
    )

    assert left == {"/things/2"}


@pytest.mark.parametrize("location", ["http://elsewhere/things/1", "http://[", "//"])
async def test_paths_of_other_origins_in_a_response_are_not_invalidated(location: str) -> None:
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


def by_name(request: Request, eviction_group: str = "", prefix: str = "") -> str:
    return "a name"


@pytest.mark.parametrize("put", [{"key_builder": by_name}, {"prefix": "elsewhere"}])
async def test_a_put_of_another_resource_does_not_keep_the_path_of_the_write(put: Any) -> None:
    app, router = caching_app(), APIRouter(route_class=InvalidatingRoute)

    @router.get("/list")
    async def get() -> Annotated[str, Cached(60)]:
        return "old"

    @router.put("/list", dependencies=[Depends(cache_put(60, **put))])
    async def write() -> str:
        return "new"

    app.include_router(router)
    async with serving(app) as http:
        await http.get("/list")
        await http.put("/list")

        assert state_of(await http.get("/list")) == "MISS"


def test_a_write_that_streams_is_named_since_it_invalidates_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def copy() -> AsyncIterator[str]:
        yield "copied"

    del copy.__annotations__["return"]
    APIRouter(route_class=InvalidatingRoute).add_api_route("/list", copy, methods=["POST"])

    assert "copy streams its response: it evicts nothing" in caplog.messages


def test_openapi_of_an_invalidating_router_is_that_of_a_plain_one() -> None:
    plain = FastAPI()
    router = APIRouter()
    add_things(router)
    plain.include_router(router)

    written = app_of(InvalidatingRoute, openapi=False).openapi()["paths"]["/list"]["post"]
    assert written == plain.openapi()["paths"]["/list"]["post"]


# Preconditions (RFC 9110 section 13.1)


FRESH = Cached(60)


class Guarded:
    """A resource whose writes heed preconditions, and which counts what ran."""

    def __init__(self, marker: Cached = FRESH, **settings: Any) -> None:
        self.app = caching_app(memory_settings(**settings))
        self.reads, self.writes = Runs(), Runs()
        self.value = "first"
        self.error: Exception | None = None
        self._add_routes(marker)

    def _add_routes(self, marker: Cached) -> None:
        @self.app.get("/things/{thing}")
        async def get_thing(thing: int) -> Annotated[str, marker]:
            self.reads.note()
            if self.error is not None:
                raise self.error
            if thing != 1:
                raise HTTPException(404)
            return self.value

        @self.app.put("/things/{thing}")
        async def put_thing(thing: int, value: str) -> Annotated[str, CachePut(preconditions=True)]:
            self.writes.note()
            self.value = value
            return value

        @self.app.delete("/things/{thing}")
        async def delete_thing(
            thing: int,
        ) -> Annotated[None, CacheEvict(key=get_thing, preconditions=True)]:
            self.writes.note()

        @self.app.post("/things/{thing}")
        async def soften_thing(
            thing: int, value: str
        ) -> Annotated[None, CacheEvict(key=get_thing, soft=True)]:
            self.value = value

        @self.app.patch("/things/{thing}")
        async def patch_thing(thing: int) -> Annotated[None, CacheEvict(key=get_thing)]:
            self.writes.note()


@pytest.mark.parametrize("warm", [True, False], ids=["stored", "nothing-stored"])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize(
    ("thing", "headers", "status"),
    [
        pytest.param(1, {"if-match": "ETAG"}, 200, id="9110-13.1.1-current"),
        pytest.param(1, {"if-match": '"other", ETAG'}, 200, id="9110-13.1.1-list"),
        pytest.param(1, {"if-match": "*"}, 200, id="9110-13.1.1-any"),
        pytest.param(1, {"if-match": '"other"'}, 412, id="9110-13.1.1-changed"),
        pytest.param(1, {"if-match": "W/ETAG"}, 412, id="9110-13.1.1-weak"),
        pytest.param(1, {"if-none-match": "*"}, 412, id="9110-13.1.2-exists"),
        pytest.param(2, {"if-match": "*"}, 412, id="9110-13.1.1-nothing-there"),
        pytest.param(2, {"if-none-match": "*"}, 200, id="9110-13.1.2-nothing-there"),
        pytest.param(1, {}, 200, id="9110-13.1-none"),
    ],
)
async def test_a_write_is_done_only_where_its_preconditions_hold(
    thing: int, headers: dict[str, str], status: int, method: str, warm: bool
) -> None:
    guarded = Guarded()
    async with serving(guarded.app) as http:
        etag = (await http.get("/things/1")).headers["etag"]
        if not warm:
            await http.patch("/things/1")
        sent = {name: value.replace("ETAG", etag) for name, value in headers.items()}
        before = len(guarded.writes)
        response = await http.request(
            method, f"/things/{thing}", params={"value": "second"}, headers=sent
        )

        assert response.status_code == status
        assert len(guarded.writes) - before == (status == 200)


async def test_the_second_of_two_writers_with_one_validator_is_refused() -> None:
    guarded = Guarded()
    async with serving(guarded.app) as http:
        etag = (await http.get("/things/1")).headers["etag"]
        statuses = [
            (await http.put(f"/things/1?value={value}", headers={"if-match": etag})).status_code
            for value in ("mine", "theirs")
        ]

        assert statuses == [200, 412]
        assert (await http.get("/things/1")).json() == "mine"


@pytest.mark.parametrize("error", [HTTPException(500), RuntimeError("the database is away")])
async def test_an_unknown_validator_fails_the_condition(error: Exception) -> None:
    guarded = Guarded()
    guarded.error = error
    async with serving(guarded.app) as http:
        response = await http.put("/things/1?value=x", headers={"if-none-match": "*"})

        assert response.status_code == 412
        assert len(guarded.writes) == 0


async def test_no_precondition_holds_because_of_a_stale_entry() -> None:
    guarded = Guarded(Cached(60, stale_while_revalidate=30, stale_if_error=30))
    async with serving(guarded.app) as http:
        etag = (await http.get("/things/1")).headers["etag"]
        await http.post("/things/1?value=theirs")
        guarded.error = HTTPException(500)
        unknown = await http.put("/things/1?value=mine", headers={"if-match": etag})
        guarded.error = None
        changed = await http.put("/things/1?value=mine", headers={"if-match": etag})

        assert [unknown.status_code, changed.status_code] == [412, 412]


async def test_preconditions_are_checked_during_an_outage() -> None:
    guarded = Guarded(url="redis://localhost:1", deadline=0.05)
    async with serving(guarded.app) as http:
        etag = (await http.get("/things/1")).headers["etag"]
        refused = await http.put("/things/1?value=x", headers={"if-match": '"other"'})
        done = await http.put("/things/1?value=x", headers={"if-match": etag})

        assert [refused.status_code, done.status_code] == [412, 200]


def test_preconditions_without_a_cached_get_are_named_at_start_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = caching_app()

    @app.put("/things/{thing}")
    async def put(
        thing: int,
    ) -> Annotated[None, CacheEvict(group="things", preconditions=True)]: ...

    start_up(app)
    start_up(Guarded().app)

    told = [one for one in caplog.messages if "preconditions=True" in one]
    assert told == [
        "PUT /things/{thing} (put): preconditions=True, and no cached GET serves its path, so "
        "nothing tells clients an ETag to send. Cache that GET, or leave it out"
    ]


async def test_control_without_preconditions_every_write_is_done() -> None:
    guarded = Guarded()
    async with serving(guarded.app) as http:
        response = await http.patch("/things/1", headers={"if-match": '"other"'})

        assert response.status_code == 200
