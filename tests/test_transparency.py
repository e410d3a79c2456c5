"""A marker changes nothing but the cache: all else is as FastAPI has it without the marker."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast

import fastapi.exceptions
import httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Header, HTTPException, Request
from fastapi import Response as FastAPIResponse
from fastapi.responses import FileResponse
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from redis.asyncio import Redis

from apps import (
    Product,
    cache_router,
    caching_app,
    client_of,
    endpoints_seen_by_middleware,
    memory_settings,
    override_redis,
    serving,
    state_of,
    states,
)
from endpoint_forms import FASTAPI_VERSION, FORMS, bench_on
from redis_fastapi import (
    Cached,
    CachePut,
    CacheRoute,
    FastAPIRedis,
    RedisSettings,
)
from redis_fastapi._policy.handlers import KEEPS_HANDLERS

CACHE_FIELDS = {"etag", "cache-control", "vary", "age", "x-redis-cache", "cache-status"}
"""The fields that only a cached response has."""

CACHE_STATES = {b"x-redis-cache", b"cache-status"}


def told(response: httpx.Response) -> tuple[int, list[tuple[str, str]], bytes]:
    """All that a client learns, but for what the cache adds."""
    fields = [pair for pair in response.headers.multi_items() if pair[0] not in CACHE_FIELDS]
    return response.status_code, sorted(fields), response.content


@asynccontextmanager
async def both(
    name: str, place: Callable[[bool], APIRouter] | None = None
) -> AsyncIterator[tuple[SimpleNamespace, SimpleNamespace]]:
    """A form without markers and with them, each served."""
    plain, marked = FastAPI(), caching_app(memory_settings(openapi=False))
    benches = []
    for app, is_marked in ((plain, False), (marked, True)):
        router = place(is_marked) if place else None
        benches.append(bench_on(router or app, name, marked=is_marked))
        if router:
            include(app, router)
    async with serving(plain) as plain_http, serving(marked) as marked_http:
        yield (
            SimpleNamespace(app=plain, http=plain_http, bench=benches[0]),
            SimpleNamespace(app=marked, http=marked_http, bench=benches[1]),
        )


def include(app: FastAPI, router: APIRouter) -> None:
    """Include a router in another, and that one in the application."""
    outer = APIRouter(prefix="/outer")
    outer.include_router(router, prefix="/inner")
    app.include_router(outer)


def plain_or_cache_router(marked: bool) -> APIRouter:
    return cache_router() if marked else APIRouter()


# Comparison over forms


@pytest.mark.parametrize("name", FORMS)
async def test_openapi_is_that_of_the_unmarked_endpoint(name: str) -> None:
    async with both(name) as (plain, marked):
        assert marked.app.openapi() == plain.app.openapi()


@pytest.mark.parametrize("name", FORMS)
async def test_responses_are_those_of_the_unmarked_endpoint(name: str) -> None:
    async with both(name) as (plain, marked):
        for method, path, options in plain.bench.requests:
            expected = told(await plain.http.request(method, path, **options))
            miss = await marked.http.request(method, path, **options)
            again = await marked.http.request(method, path, **options)

            assert told(miss) == expected, (method, path, options)
            if state_of(again) == "HIT":
                assert told(again) == expected, (method, path, options)


@pytest.mark.parametrize("name", sorted(FORMS.keys() - {"bodies", "forms_and_files"}))
async def test_successful_reads_of_every_form_are_stored(name: str) -> None:
    async with both(name) as (_, marked):
        for method, path, options in marked.bench.requests:
            first = await marked.http.request(method, path, **options)
            again = await marked.http.request(method, path, **options)
            if method == "GET" and first.status_code == 200 and path != "/checked":
                assert state_of(again) == "HIT", path


@pytest.mark.parametrize("name", FORMS)
async def test_a_miss_runs_the_same_in_the_same_order(name: str) -> None:
    async with both(name) as (plain, marked):
        seen: set[str] = set()
        for method, path, options in plain.bench.requests:
            if (asked := f"{method} {path} {options}") in seen:
                continue
            seen.add(asked)
            for one in (plain, marked):
                one.bench.events.clear()
                response = await one.http.request(method, path, **options)
            if state_of(response) != "HIT":
                assert marked.bench.events == plain.bench.events, asked


@pytest.mark.parametrize("name", FORMS)
async def test_nested_routers_change_nothing(name: str) -> None:
    async with both(name, plain_or_cache_router) as (plain, marked):
        assert marked.app.openapi() == plain.app.openapi()
        for method, path, options in plain.bench.requests:
            path = f"/outer/inner{path}"
            expected = told(await plain.http.request(method, path, **options))
            for _ in range(2):
                assert told(await marked.http.request(method, path, **options)) == expected


async def test_the_comparison_notices_a_difference() -> None:
    async with both("dependencies") as (plain, marked):
        response = await marked.http.get("/read")
        changed = httpx.Response(200, headers=[*response.headers.multi_items(), ("x-more", "1")])

        assert told(response) != told(await plain.http.get("/read?n=2"))
        assert told(changed) != told(response)


# Where a route stands


def add_product(router: FastAPI | APIRouter, ran: list[int]) -> None:
    """One cached endpoint that records its runs."""

    @router.get("/products/{product_id}")
    async def get_product(product_id: int) -> Annotated[Product, Cached(ttl=60)]:
        ran.append(product_id)
        return Product(id=product_id)


def product_router(ran: list[int]) -> APIRouter:
    router = cache_router()
    add_product(router, ran)
    return router


@pytest.mark.parametrize("routes", ["app", "router", "api_route"])
async def test_a_marked_route_caches_wherever_it_is_declared(
    routes: str, fake_client: Redis
) -> None:
    app, ran = caching_app(), list[int]()
    if routes == "app":
        add_product(app, ran)
    elif routes == "router":
        app.include_router(product_router(ran))
    else:

        @app.api_route("/products/{product_id}", methods=["GET"])
        def read(product_id: int) -> Annotated[Product, Cached(ttl=60)]:
            ran.append(product_id)
            return Product(id=product_id)

    async with serving(app, fake_client) as http:
        assert await states(http, "/products/1", "/products/1", "/products/2") == [
            "MISS",
            "HIT",
            "MISS",
        ]
    assert ran == [1, 2]


async def test_a_router_needs_no_caching_call() -> None:
    app, ran = FastAPI(), list[int]()
    app.include_router(product_router(ran))
    FastAPIRedis(app, memory_settings()).lifespan()

    async with serving(app) as http:
        assert await states(http, "/products/1", "/products/1") == ["MISS", "HIT"]


async def test_a_router_included_twice_keeps_its_paths_apart() -> None:
    app, ran = caching_app(), list[int]()
    router = product_router(ran)
    for prefix in ("/a", "/b", ""):
        app.include_router(router, prefix=prefix)

    async with serving(app) as http:
        for path in ("/a/products/1", "/b/products/1", "/products/1"):
            assert await states(http, path, path) == ["MISS", "HIT"]
    assert ran == [1, 1, 1]


@pytest.mark.skipif(not KEEPS_HANDLERS, reason="a route has to keep what FastAPI does not")
async def test_a_router_keeps_no_application_that_has_included_it() -> None:
    router = product_router([])

    async def serve_once() -> weakref.ref[FastAPI]:
        app = caching_app()
        app.include_router(router)
        async with serving(app) as http:
            assert await states(http, "/products/1", "/products/1") == ["MISS", "HIT"]
        return weakref.ref(app)

    gone = await serve_once()
    gc.collect()
    assert gone() is None


async def test_a_mounted_application_caches_and_keeps_its_paths_apart() -> None:
    app, ran = caching_app(), list[int]()
    add_product(app, ran)
    for path in ("/one", "/two"):
        inner = FastAPI()
        inner.include_router(product_router(ran))
        app.mount(path, inner)

    async with serving(app) as http:
        for path in ("/products/1", "/one/products/1", "/two/products/1"):
            assert await states(http, path, path) == ["MISS", "HIT"]
    assert ran == [1, 1, 1]


async def test_overrides_are_those_of_the_mounted_application(fake_client: Redis) -> None:
    outer, inner, ran = FastAPI(), FastAPI(), list[int]()
    inner.include_router(product_router(ran))
    outer.mount("/inner", inner)
    override_redis(inner, fake_client)

    async with client_of(outer) as http:
        assert await states(http, "/inner/products/1", "/inner/products/1") == ["MISS", "HIT"]
    assert await fake_client.dbsize()


async def test_a_root_path_changes_no_entry(fake_client: Redis) -> None:
    app, inner, ran = caching_app(), FastAPI(), list[int]()
    inner.include_router(product_router(ran))
    app.mount("/inner", inner)
    add_product(app, ran)
    override_redis(inner, fake_client)

    async with serving(app, fake_client) as http:
        assert await states(http, "/products/1", "/inner/products/1") == ["MISS", "MISS"]
    async with serving(app, fake_client, root_path="/proxy") as http:
        stripped_or_whole = ("/products/1", "/proxy/products/1", "/proxy/inner/products/1")
        assert await states(http, *stripped_or_whole) == ["HIT", "HIT", "HIT"]


async def test_one_function_on_two_paths_has_two_entries() -> None:
    app = caching_app()
    ran: list[int] = []

    @app.get("/x")
    @app.get("/y")
    async def read(n: int = 1) -> Annotated[Product, Cached(ttl=60)]:
        ran.append(n)
        return Product(id=n)

    async with serving(app) as http:
        assert await states(http, "/x", "/x", "/y", "/y") == ["MISS", "HIT", "MISS", "HIT"]
    assert (await read(5)).id == 5
    assert ran == [1, 1, 5]


def test_a_declared_endpoint_stays_the_function_it_was() -> None:
    async def read(n: int = 1) -> Annotated[Product, Cached(ttl=60)]:
        return Product(id=n)

    before = dict(vars(read)), dict(read.__annotations__), read.__code__
    router = cache_router()

    assert router.get("/x")(read) is read
    assert (dict(vars(read)), dict(read.__annotations__), read.__code__) == before
    assert asyncio.run(read(3)) == Product(id=3)


async def test_middleware_sees_the_names_and_attributes_of_the_endpoint() -> None:
    app = caching_app()
    seen = endpoints_seen_by_middleware(app)

    async def get_product(product_id: int) -> Annotated[Product, Cached(ttl=60)]:
        """Documented."""
        return Product(id=product_id)

    get_product.limit = 3  # type: ignore[attr-defined]  # functions take any attribute
    app.get("/products/{product_id}")(get_product)

    async with serving(app) as http:
        assert await states(http, "/products/1", "/products/1") == ["MISS", "HIT"]

    assert app.url_path_for("get_product", product_id=1) == "/products/1"
    for endpoint in seen:
        assert (endpoint.__name__, endpoint.__module__) == ("get_product", __name__)
        assert (endpoint.__doc__, endpoint.limit) == ("Documented.", 3)


async def test_another_route_class_keeps_its_place_under_caching() -> None:
    class Stamped(APIRoute):
        def get_route_handler(self) -> Any:
            handler = super().get_route_handler()

            async def stamp(request: Request) -> FastAPIResponse:
                response = await handler(request)
                response.headers["x-stamp"] = request.headers["x-number"]
                return response

            return stamp

    app, ran = FastAPI(), list[int]()
    app.router.route_class = Stamped
    FastAPIRedis(app, memory_settings()).lifespan().caching()
    add_product(app, ran)

    async with serving(app) as http:
        first = await http.get("/products/1", headers={"x-number": "1"})
        again = await http.get("/products/1", headers={"x-number": "2"})

    assert isinstance(app.routes[-1], Stamped)
    assert (state_of(first), first.headers.get_list("x-stamp")) == ("MISS", ["1"])
    assert (state_of(again), again.headers.get_list("x-stamp")) == ("HIT", ["2"])


# Dependencies


def noting(events: list[str], name: str) -> Any:
    def note() -> None:
        events.append(name)

    return Depends(note)


def guarded_app(kind: str, events: list[str]) -> tuple[FastAPI, str]:
    """A cached endpoint below dependencies of every level, and the path at which it stands."""
    app = caching_app(dependencies=[noting(events, "app")])
    router = cache_router(dependencies=[noting(events, "router")])
    target: FastAPI | APIRouter = app if kind == "app" else router

    def login(token: Annotated[str, Header()] = "") -> str:
        events.append("login")
        if token != "good":
            raise HTTPException(401)
        return "ann"

    @target.get("/p", dependencies=[noting(events, "route")])
    async def read(user: Annotated[str, Depends(login)], n: int = 1) -> Annotated[int, Cached(60)]:
        events.append("endpoint")
        return n

    if kind == "app":
        return app, "/p"
    if kind == "router":
        app.include_router(router, prefix="/in", dependencies=[noting(events, "include")])
        return app, "/in/p"
    middle = APIRouter(dependencies=[noting(events, "middle")])
    middle.include_router(router, prefix="/in", dependencies=[noting(events, "inner include")])
    app.include_router(middle, prefix="/out", dependencies=[noting(events, "include")])
    return app, "/out/in/p"


@pytest.mark.parametrize("kind", ["app", "router", "nested"])
async def test_a_hit_runs_every_dependency_of_a_miss_once_in_its_order(kind: str) -> None:
    events: list[str] = []
    app, path = guarded_app(kind, events)

    async with serving(app) as http:
        miss = await http.get(path, headers={"token": "good"})
        ran, events[:] = list(events), []
        hit = await http.get(path, headers={"token": "good"})

    assert (state_of(miss), state_of(hit)) == ("MISS", "HIT")
    assert ran[-2:] == ["login", "endpoint"]
    assert len(ran) == len(set(ran))
    assert events == ran[:-1]


@pytest.mark.parametrize("kind", ["app", "router", "nested"])
async def test_a_cached_entry_does_not_bypass_authentication(kind: str) -> None:
    events: list[str] = []
    app, path = guarded_app(kind, events)

    async with serving(app) as http:
        await states(http, path, path, headers={"token": "good"})
        stranger = await http.get(path, headers={"token": "bad"})
        invalid = await http.get(f"{path}?n=x", headers={"token": "good"})

    assert stranger.status_code == 401
    assert invalid.status_code == 422
    assert len(invalid.json()["detail"]) == 1


async def test_a_dependency_for_include_alone_guards_a_warm_entry() -> None:
    def refuse(token: Annotated[str, Header()] = "") -> None:
        if token != "good":
            raise HTTPException(403)

    app = caching_app()
    app.include_router(product_router([]), dependencies=[Depends(refuse)])

    async with serving(app) as http:
        paths = ("/products/1", "/products/1")
        assert await states(http, *paths, headers={"token": "good"}) == ["MISS", "HIT"]
        assert (await http.get("/products/1")).status_code == 403


async def test_an_override_of_a_dependency_holds_on_a_warm_entry() -> None:
    def login() -> str:
        return "ann"

    def refuse() -> str:
        raise HTTPException(403)

    app = caching_app()

    @app.get("/p")
    async def read(user: Annotated[str, Depends(login)]) -> Annotated[int, Cached(ttl=60)]:
        return 1

    async with serving(app) as http:
        assert await states(http, "/p", "/p") == ["MISS", "HIT"]
        app.dependency_overrides[login] = refuse
        assert (await http.get("/p")).status_code == 403


def user_by_header(x_user: Annotated[str, Header()] = "nobody") -> str:
    return x_user


def user_by_query(user: str = "nobody") -> str:
    return user


async def test_an_override_selects_by_what_it_reads_and_by_itself() -> None:
    app = caching_app()

    @app.get("/p")
    async def read(user: Annotated[str, Depends(user_by_header)]) -> Annotated[str, Cached(60)]:
        return user

    async with serving(app) as http:

        async def asked(**sent: str) -> tuple[str | None, Any]:
            answer = await http.get("/p", params=sent)
            return state_of(answer), answer.json()

        overrides = app.dependency_overrides
        assert await asked() == ("MISS", "nobody")
        overrides[user_by_header] = lambda: "ann"
        assert [await asked() for _ in range(2)] == [("MISS", "ann"), ("HIT", "ann")]
        overrides[user_by_header] = lambda: "bob"
        assert [await asked() for _ in range(2)] == [("MISS", "bob"), ("HIT", "bob")]
        overrides[user_by_header] = user_by_query
        assert [await asked(user=one) for one in "xyx"] == [
            *(("MISS", "x"), ("MISS", "y"), ("HIT", "x"))
        ]
        overrides.clear()
        assert await asked() == ("HIT", "nobody")


@pytest.mark.parametrize("said", [{"shared": True}, {"vary": "user"}])
async def test_with_vary_or_shared_an_override_does_not_count(
    said: dict[str, Any],
) -> None:
    app = caching_app()

    @app.get("/p")
    async def read(
        user: Annotated[str, Depends(user_by_header)],
    ) -> Annotated[int, Cached(60, **said)]:
        return 1

    async with serving(app) as http:
        states = []
        for _ in range(2):
            app.dependency_overrides[user_by_header] = lambda: "ann"
            states.append(state_of(await http.get("/p")))
        assert states == ["MISS", "HIT"]


@pytest.mark.parametrize("own_parameter", [False, True])
async def test_a_header_of_a_dependency_is_fresh_on_a_hit_and_single_on_a_miss(
    own_parameter: bool,
) -> None:
    app, calls = caching_app(), list[int]()

    def number(response: FastAPIResponse) -> None:
        calls.append(1)
        response.headers["x-call"] = str(len(calls))
        response.headers.append("x-many", "a")
        response.headers.append("x-many", "b")

    if own_parameter:

        @app.get("/p", dependencies=[Depends(number)])
        async def with_response(response: FastAPIResponse) -> Annotated[int, Cached(ttl=60)]:
            response.headers["x-endpoint"] = "kept"
            return 1

    else:

        @app.get("/p", dependencies=[Depends(number)])
        async def without_response() -> Annotated[int, Cached(ttl=60)]:
            return 1

    async with serving(app) as http:
        miss, hit = await http.get("/p"), await http.get("/p")

    assert (state_of(miss), state_of(hit)) == ("MISS", "HIT")
    assert (miss.headers.get_list("x-call"), hit.headers.get_list("x-call")) == (["1"], ["2"])
    for response in (miss, hit):
        assert response.headers.get_list("x-many") == ["a", "b"]
        assert response.headers.get_list("x-endpoint") == (["kept"] if own_parameter else [])


async def test_a_dependency_sets_no_header_on_a_response_the_endpoint_built() -> None:
    app = caching_app()

    def number(response: FastAPIResponse) -> None:
        response.headers["x-call"] = "1"

    @app.get("/p", dependencies=[Depends(number)])
    async def read() -> Annotated[FastAPIResponse, Cached(ttl=60)]:
        return FastAPIResponse(b"own")

    async with serving(app) as http:
        miss, hit = await http.get("/p"), await http.get("/p")

    assert (state_of(miss), state_of(hit)) == ("MISS", "HIT")
    assert "x-call" not in miss.headers
    assert "x-call" not in hit.headers


async def test_background_tasks_of_dependencies_run_on_a_hit_and_those_of_endpoints_do_not() -> (
    None
):
    app, events = caching_app(), list[str]()

    def log_visit(tasks: BackgroundTasks) -> None:
        tasks.add_task(events.append, "dependency")

    @app.get("/p", dependencies=[Depends(log_visit)])
    async def read(tasks: BackgroundTasks) -> Annotated[int, Cached(ttl=60)]:
        tasks.add_task(events.append, "endpoint")
        return 1

    async with serving(app) as http:
        miss = await http.get("/p")
        assert events == ["dependency", "endpoint"]
        await http.get("/p")
        not_modified = await http.get("/p", headers={"if-none-match": miss.headers["etag"]})

    assert not_modified.status_code == 304
    assert events == ["dependency", "endpoint", "dependency", "dependency"]


def session_app(events: list[str]) -> FastAPI:
    """An endpoint with a session that commits, rolls back and closes."""
    app = caching_app()

    async def session() -> AsyncIterator[int]:
        events.append("open")
        try:
            yield 1
        except HTTPException:
            events.append("rollback")
            raise
        else:
            events.append("commit")
        finally:
            events.append("close")

    @app.get("/p")
    async def read(db: Annotated[int, Depends(session)]) -> Annotated[int, Cached(ttl=60)]:
        events.append("endpoint")
        return db

    @app.get("/refused")
    async def refused(db: Annotated[int, Depends(session)]) -> Annotated[int, Cached(ttl=60)]:
        raise HTTPException(404)

    return app


async def test_a_yield_dependency_commits_and_closes_on_a_hit() -> None:
    events: list[str] = []
    async with serving(session_app(events)) as http:
        await http.get("/p")
        assert events == ["open", "endpoint", "commit", "close"]
        events.clear()
        assert state_of(await http.get("/p")) == "HIT"

    assert events == ["open", "commit", "close"]


async def test_a_yield_dependency_sees_the_endpoints_error() -> None:
    events: list[str] = []
    async with serving(session_app(events)) as http:
        for _ in range(2):
            events.clear()
            response = await http.get("/refused")
            assert (response.status_code, state_of(response)) == (404, None)
            assert events == ["open", "rollback", "close"]


@pytest.mark.parametrize("kind", ["whole", "file"])
async def test_a_response_that_is_returned_again_and_again_stays_as_it_is(
    kind: str, tmp_path: Path
) -> None:
    file = tmp_path / "tea.txt"
    file.write_bytes(b"tea")
    kept = FileResponse(file) if kind == "file" else FastAPIResponse(b"tea")
    app, before = caching_app(), (type(kept), list(kept.raw_headers))

    @app.api_route("/tea/{number}", methods=["GET", "HEAD"])
    async def tea(number: int) -> Annotated[FastAPIResponse, Cached(ttl=60)]:
        return kept

    async with serving(app) as http:
        heads = [await http.head("/tea/1") for _ in range(2)]
        assert [one.headers["cache-status"] for one in heads] == ["redis-fastapi; fwd=method"] * 2
        assert await states(http, "/tea/1", "/tea/2", "/tea/1", "/tea/2") == [
            *("MISS", "MISS", "HIT", "HIT"),
        ]
    assert (type(kept), kept.raw_headers[: len(before[1])]) == before
    assert not CACHE_STATES.intersection(name for name, _ in kept.raw_headers)


@pytest.mark.parametrize("built", [True, False])
async def test_a_header_that_a_route_class_sets_is_sent(built: bool) -> None:
    class Signed(CacheRoute):
        def get_route_handler(self) -> Any:
            handler = super().get_route_handler()

            async def sign(request: Request) -> FastAPIResponse:
                response = await handler(request)
                response.headers["x-signed"] = request.method
                return response

            return sign

    app, kept = caching_app(), FastAPIResponse(b"tea")
    kept.headers["x-own"] = "1"
    app.router.route_class = Signed

    @app.api_route("/tea", methods=["GET", "HEAD"])
    async def tea(response: FastAPIResponse) -> Annotated[Any, Cached(ttl=60)]:
        response.headers["x-injected"] = "1"
        return kept if built else "tea"

    async with serving(app) as http:
        for method, state in (("HEAD", None), ("GET", "MISS"), ("GET", "HIT")):
            answer = await http.request(method, "/tea")
            assert (answer.headers["x-signed"], state_of(answer)) == (method, state)
    assert "x-signed" not in kept.headers


@pytest.mark.parametrize("kind", [tuple, list])
@pytest.mark.parametrize("put", [False, True])
async def test_fields_that_an_author_spelt_in_capitals_count(kind: type, put: bool) -> None:
    app, tea = caching_app(), FastAPIResponse(b"tea")
    spelt = [(b"Cache-Control", b"max-age=5"), (b"ETag", b'"1"'), (b"Content-Length", b"3")]
    tea.raw_headers = [kind(field) for field in spelt]

    @app.get("/tea")
    async def get() -> Annotated[FastAPIResponse, Cached(ttl=60)]:
        return tea

    @app.put("/tea")
    async def write() -> Annotated[FastAPIResponse, CachePut()]:
        return tea

    async with serving(app) as http:
        await (http.put if put else http.get)("/tea")
        hit = await http.get("/tea")
    assert state_of(hit) == "HIT"
    assert hit.headers.get_list("etag") == ['"1"']
    assert hit.headers["cache-control"] == "max-age=5"


async def test_a_dependency_that_swallows_exceptions_sees_none_on_a_hit() -> None:
    app, swallowed = caching_app(), list[Exception]()

    def careless() -> Iterator[int]:
        try:
            yield 1
        except Exception as error:
            swallowed.append(error)

    @app.get("/p")
    async def read(db: Annotated[int, Depends(careless)]) -> Annotated[int, Cached(ttl=60)]:
        return db

    async with serving(app) as http:
        assert await states(http, "/p", "/p") == ["MISS", "HIT"]
    assert swallowed == []


@pytest.mark.parametrize("scope", ["function", "request"])
@pytest.mark.skipif(FASTAPI_VERSION < (0, 121), reason="dependency scopes are FastAPI 0.121's")
async def test_a_dependencys_scope_is_kept(scope: Any) -> None:
    app, events = caching_app(), list[str]()

    async def session() -> AsyncIterator[int]:
        events.append("open")
        yield 1
        events.append("close")

    @app.get("/p")
    async def read(
        db: Annotated[int, Depends(session, scope=scope)],
    ) -> Annotated[int, Cached(ttl=60)]:
        return db

    sent: list[str] = []

    async with serving(app) as http:
        for _ in range(2):
            events.clear()
            await http.get("/p")
            sent.append(",".join(events))
    assert sent == ["open,close", "open,close"]


# Without a cache


async def test_without_a_lifespan_everything_works_uncached_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, ran = FastAPI(), list[int]()
    app.include_router(product_router(ran))

    async with client_of(app) as http:
        responses = [await http.get("/products/1") for _ in range(3)]

    assert [response.json()["id"] for response in responses] == [1, 1, 1]
    assert {state_of(response) for response in responses} == {None}
    assert ran == [1, 1, 1]
    assert [record.message for record in caplog.records if record.name == "redis_fastapi"] == [
        "nothing is cached: no Redis client is open. Add FastAPIRedis(app).lifespan()"
    ]


async def test_switched_off_the_response_is_the_plain_one() -> None:
    app, ran = caching_app(memory_settings(enabled=False)), list[int]()
    add_product(app, ran)
    plain = FastAPI()

    @plain.get("/products/{product_id}")
    async def get_product(product_id: int) -> Product:
        return Product(id=product_id)

    async with serving(app) as http, serving(plain) as plain_http:
        for _ in range(2):
            response = await http.get("/products/1")
            expected = await plain_http.get("/products/1")
            assert response.headers.multi_items() == expected.headers.multi_items()
            assert response.content == expected.content
    assert ran == [1, 1]


def test_the_settings_url_serves_under_a_test_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "memory://")
    monkeypatch.setenv("REDIS_DEADLINE", "5")
    app, ran = FastAPI(), list[int]()
    FastAPIRedis(app, RedisSettings()).lifespan().caching()
    add_product(app, ran)

    with TestClient(app) as http:
        answers = [http.get("/products/1").headers["x-redis-cache"] for _ in range(3)]

    assert answers == ["MISS", "HIT", "HIT"]


async def test_a_real_server_serves_hits(redis_client: Redis) -> None:
    app, ran = caching_app(), list[int]()
    add_product(app, ran)

    async with serving(app, redis_client) as http:
        assert await states(http, "/products/1", "/products/1") == ["MISS", "HIT"]
    assert await redis_client.dbsize()


# Errors name the author's file


@pytest.mark.parametrize("cached", [True, False])
async def test_validation_errors_name_the_authors_file(cached: bool) -> None:
    app = caching_app() if cached else FastAPI()
    seen: list[Any] = []

    @app.exception_handler(fastapi.exceptions.RequestValidationError)
    async def keep(request: Request, error: Exception) -> FastAPIResponse:
        seen.append(error)
        return FastAPIResponse(status_code=422)

    router = cache_router()

    @router.get("/bad")
    async def bad(n: int = 1) -> Annotated[Product, Cached(ttl=60)]:
        return {"id": "no number"}  # type: ignore[return-value]  # the mistake

    app.include_router(router)
    async with serving(app) as http:
        await http.get("/bad?n=x")
        with pytest.raises(fastapi.exceptions.ResponseValidationError) as caught:
            await http.get("/bad")

    for error in (seen[0], cast("Any", caught.value)):
        file = getattr(error, "endpoint_file", None)
        assert file in (None, __file__)
        if FASTAPI_VERSION >= (0, 128):
            assert file == __file__
            assert error.endpoint_function == "bad"
            assert error.endpoint_line > 1
