"""What the code round a route may do without misleading the cache."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from typing import Annotated, Any

import fastapi
import fastapi.routing
import pytest
from fastapi import APIRouter, Depends, HTTPException, Request, Response, WebSocket
from fastapi.exceptions import FastAPIError
from fastapi.routing import APIRoute
from fastapi.security import APIKeyHeader
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field, model_validator

from apps import (
    Gate,
    Product,
    cache_router,
    caching_app,
    endpoints_seen_by_middleware,
    serving,
    state_of,
    states,
)
from redis_fastapi import (
    Cached,
    CacheDeclarationError,
    CacheEvict,
    CachePut,
    CacheRoute,
    cache,
    cache_evict,
)


@pytest.fixture
def wrapped_handlers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What instrumentation does: every handler of FastAPI is wrapped by another function.

    Returns:
        The paths that it has heard of.
    """
    heard: list[str] = []
    original = fastapi.routing.get_request_handler

    def get_instrumented(*args: Any, **options: Any) -> Callable[[Request], Awaitable[Response]]:
        handler = original(*args, **options)

        async def instrumented(request: Request) -> Response:
            heard.append(request.url.path)
            return await handler(request)

        return instrumented

    monkeypatch.setattr(fastapi.routing, "get_request_handler", get_instrumented)
    return heard


@pytest.mark.usefixtures("wrapped_handlers")
async def test_an_instrumented_handler_keeps_inclusions_apart() -> None:
    router = cache_router()

    @router.get("/items/{item}")
    async def get_item(item: int, request: Request) -> Annotated[str, Cached(ttl=60, shared=True)]:
        return request.url.path

    @router.delete("/items/{item}")
    async def delete_item(item: int) -> Annotated[None, CacheEvict(key=get_item)]: ...

    app = caching_app()
    app.include_router(router, prefix="/v1")
    app.include_router(router, prefix="/v2")
    async with serving(app) as http:
        first, second = await http.get("/v1/items/1"), await http.get("/v2/items/1")
        assert [first.json(), second.json()] == ["/v1/items/1", "/v2/items/1"]
        assert await states(http, "/v1/items/1") == ["HIT"]
        await http.delete("/v1/items/1")
        assert await states(http, "/v1/items/1", "/v2/items/1") == ["MISS", "MISS"]


@pytest.mark.usefixtures("wrapped_handlers")
async def test_an_instrumented_handler_keeps_what_an_inclusion_declares() -> None:
    router = cache_router()

    @router.get("/x")
    async def x() -> str:
        return "x"

    app = caching_app()
    app.include_router(router, dependencies=[Depends(cache(ttl=60))])
    async with serving(app) as http:
        assert await states(http, "/x", "/x") == ["MISS", "HIT"]


async def test_an_instrumented_handler_sees_hits(wrapped_handlers: list[str]) -> None:
    app = caching_app()

    @app.get("/x")
    async def x() -> Annotated[str, Cached(ttl=60)]:
        return "x"

    async with serving(app) as http:
        assert await states(http, "/x", "/x", "/x") == ["MISS", "HIT", "HIT"]
    assert wrapped_handlers == ["/x"] * 3


def as_view(router: APIRouter, view: type) -> None:
    """What libraries of class based views do: an endpoint gets its instance from a dependency."""
    functions = {function for _, function in inspect.getmembers(view, inspect.isfunction)}
    own = APIRouter()
    for route in [route for route in router.routes if getattr(route, "endpoint", 0) in functions]:
        assert isinstance(route, APIRoute)
        signature = inspect.signature(route.endpoint)
        instance, *others = signature.parameters.values()
        parameters = [
            instance.replace(default=Depends(view)),
            *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in others),
        ]
        vars(route.endpoint)["__signature__"] = signature.replace(parameters=parameters)
        router.routes.remove(route)
        own.routes.append(route)
    router.include_router(own)


@pytest.mark.parametrize("name", ["solve_dependencies", "run_endpoint_function"])
async def test_instrumentation_within_the_handler_sees_hits(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = caching_app()

    @app.get("/x")
    async def x() -> Annotated[str, Cached(ttl=60)]:
        return "x"

    heard = 0
    original = getattr(fastapi.routing, name)

    @functools.wraps(original)
    async def hearing(**values: Any) -> Any:
        nonlocal heard
        heard += 1
        return await original(**values)

    monkeypatch.setattr(fastapi.routing, name, hearing)
    async with serving(app) as http:
        assert await states(http, "/x", "/x", "/x") == ["MISS", "HIT", "HIT"]
    assert heard == 3


async def test_a_class_based_view_is_cached_by_what_its_instance_reads() -> None:
    router = cache_router()

    class Teas:
        def __init__(self, unit: str = "g") -> None:
            self.unit = unit

        @router.get("/teas/{tea}")
        async def get_tea(self, tea: int) -> Annotated[str, Cached(ttl=60)]:
            return f"{tea} {self.unit}"

        @router.delete("/teas/{tea}", dependencies=[Depends(cache_evict(eviction_group="teas"))])
        def delete_tea(self, tea: int) -> Annotated[None, CacheEvict(key=get_tea)]: ...

    as_view(router, Teas)
    app = caching_app()
    app.include_router(router, prefix="/v1")
    paths = ("/v1/teas/1", "/v1/teas/1?unit=oz")
    async with serving(app) as http:
        assert [(await http.get(path)).json() for path in paths] == ["1 g", "1 oz"]
        assert await states(http, *paths) == ["HIT", "HIT"]
        assert (await http.delete("/v1/teas/1")).status_code == 200
        assert await states(http, *paths) == ["MISS", "MISS"]


def signed_in(key: Annotated[str, Depends(APIKeyHeader(name="x-key"))]) -> str:
    return key


async def test_a_view_behind_authentication_needs_vary_or_shared() -> None:
    router = cache_router()

    class Baskets:
        def __init__(self, user: Annotated[str, Depends(signed_in)]) -> None:
            self.user = user

        @router.get("/basket")
        async def get_basket(self) -> Annotated[str, Cached(ttl=60)]:
            return self.user

    async def start() -> None:
        as_view(router, Baskets)
        app = caching_app()
        app.include_router(router)
        async with serving(app):
            pass

    with pytest.raises(CacheDeclarationError, match=r"vary='self\.user\.id'") as caught:
        await start()
    assert caught.value.code == "redis-cache-secured"


async def test_a_route_shows_the_function_of_its_author() -> None:
    router = cache_router()

    @router.get("/x", dependencies=[Depends(cache(ttl=60))])
    def get_x() -> str:
        return "x"

    @router.get("/y")
    def get_y() -> Annotated[str, Cached(ttl=60)]:
        return "y"

    app = caching_app()
    app.include_router(router)
    seen = endpoints_seen_by_middleware(app)
    async with serving(app) as http:
        assert await states(http, "/x", "/x", "/y", "/y") == ["MISS", "HIT"] * 2
    assert seen == [get_x, get_x, get_y, get_y]
    assert [getattr(route, "endpoint", None) for route in router.routes] == [get_x, get_y]


async def test_a_plain_wrapper_of_a_coroutine_function_is_awaited() -> None:
    def logged(endpoint: Callable[[], Awaitable[str]]) -> Callable[[], Awaitable[str]]:
        def wrapper() -> Awaitable[str]:
            return endpoint()

        wrapper.__annotations__ = endpoint.__annotations__
        return wrapper

    app = caching_app()

    @app.get("/x")
    @logged
    async def x() -> Annotated[str, Cached(ttl=60)]:
        return "x"

    async with serving(app) as http:
        assert (await http.get("/x")).json() == "x"
        assert await states(http, "/x") == ["HIT"]


async def test_a_dependency_that_a_parameter_receives_may_declare_caching() -> None:
    app = caching_app()

    @app.get("/x")
    async def x(_: Annotated[None, Depends(cache(ttl=60))]) -> str:
        return "x"

    async with serving(app) as http:
        assert await states(http, "/x", "/x") == ["MISS", "HIT"]


def test_a_router_wide_cache_leaves_websockets_as_they_are() -> None:
    router = APIRouter(dependencies=[Depends(cache(ttl=60))])

    @router.websocket("/ws")
    async def talk(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    app = caching_app()
    app.include_router(router)
    with TestClient(app) as client, client.websocket_connect("/ws") as socket:
        assert socket.receive_text() == "hello"


async def test_a_route_class_may_make_a_request_of_its_own() -> None:
    class Copying(APIRoute):
        def get_route_handler(self) -> Any:
            handler = super().get_route_handler()

            async def handle_copy(request: Request) -> Response:
                return await handler(Request(request.scope, request.receive))

            return handle_copy

    class CopyingCached(CacheRoute, Copying):
        """What ``.caching()`` makes of it."""

    app = caching_app()
    router = APIRouter(route_class=CopyingCached)

    @router.get("/x")
    async def x(item: Product) -> Annotated[int, Cached(ttl=60)]:
        return item.id

    app.include_router(router)
    async with serving(app) as http:
        bodies = [{"id": 1}, {"id": 1}, {"id": 2}]
        answers = [await http.request("GET", "/x", json=body) for body in bodies]
        assert [answer.json() for answer in answers] == [1, 1, 2]
        assert [state_of(answer) for answer in answers] == ["MISS", "HIT", "MISS"]


class Service:
    """What a container gives an endpoint, and pydantic does not know."""

    name = "tea"


class Injecting(APIRoute):
    """What a container's route class does: its wrapper shows no trace of what it wraps."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        signature = inspect.signature(endpoint)
        seen = [one for one in signature.parameters.values() if one.name != "service"]

        async def injected(**values: Any) -> Any:
            given = {"service": Service()} if len(seen) < len(signature.parameters) else {}
            return await endpoint(**values, **given)

        vars(injected)["__signature__"] = signature.replace(parameters=seen)
        injected.__name__ = endpoint.__name__
        super().__init__(path, injected, **options)


class InjectingWithin(CacheRoute, Injecting):
    """What ``.caching()`` makes of it."""


class InjectingAround(Injecting, CacheRoute):
    """The cache sees what a container has made of the endpoint."""


@pytest.mark.parametrize("kind", [InjectingWithin, InjectingAround])
async def test_a_route_class_may_pass_the_endpoint_values_that_no_request_has(
    kind: type[CacheRoute], caplog: pytest.LogCaptureFixture
) -> None:
    app = caching_app()
    router = APIRouter(route_class=kind)
    app.router.route_class = kind

    @app.get("/x")
    @router.get("/x")
    async def x(service: Service) -> Annotated[str, Cached(ttl=60)]:
        return service.name

    app.include_router(router, prefix="/v1")
    async with serving(app) as http:
        for path in ("/x", "/v1/x"):
            assert (await http.get(path)).json() == "tea"
            assert await states(http, path) == ["HIT"]
    if kind is InjectingWithin:
        assert "GET /x (x): what wraps x takes the whole Request" in caplog.text


@pytest.mark.parametrize("shared", [None, True])
async def test_a_wrapper_of_the_endpoint_may_depend_on_the_user(
    shared: bool | None, caplog: pytest.LogCaptureFixture
) -> None:
    app = caching_app()

    @app.get("/me")
    async def me(
        user: Annotated[str, Depends(lambda: "")],
    ) -> Annotated[str, Cached(60, shared=shared)]:
        return user

    route = next(route for route in app.routes if isinstance(route, APIRoute))
    wrapper: Any = route.dependant.call
    user = ContextVar("user", default="")

    async def injected(**values: Any) -> Any:
        return await wrapper(**values | {"user": user.get()})

    route.dependant.call = injected
    found = []
    async with serving(app) as http:
        for name in ("ann", "bob", "ann"):
            user.set(name)
            found.append(await http.get("/me", headers={"authorization": name}))
    assert [answer.json() for answer in found] == (["ann"] * 3 if shared else ["ann", "bob", "ann"])
    assert [state_of(answer) for answer in found][-1] == "HIT"
    assert ("what wraps me takes the whole Request" in caplog.text) is not shared


def in_capitals(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def call_and_capitalize(*given: Any, **values: Any) -> Any:
        found = await call(*given, **values)
        return found if isinstance(found, Response) else found.upper()

    return call_and_capitalize


def of_its_own(call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def call_without_parameters() -> Any:
        return (await call()).upper()

    return call_without_parameters


@pytest.mark.parametrize(
    "replacement",
    [
        pytest.param(lambda route: of_its_own(route.endpoint), id="of its own"),
        pytest.param(lambda route: in_capitals(route.endpoint), id="around the endpoint"),
        pytest.param(lambda route: in_capitals(route.dependant.call), id="around the wrapper"),
    ],
)
async def test_what_is_put_in_the_place_of_an_endpoint_is_cached_and_evicts_like_it(
    replacement: Callable[[APIRoute], Any],
) -> None:
    app, shelf = caching_app(), ["sencha"]

    @app.get("/tea")
    async def get_tea() -> Annotated[str, Cached(60)]:
        return shelf[-1]

    @app.post("/tea")
    async def post_tea() -> Annotated[str, CacheEvict(key=get_tea)]:
        shelf.append("assam")
        return shelf[-1]

    for route in (one for one in app.routes if isinstance(one, APIRoute)):
        route.dependant.call = replacement(route)
    async with serving(app) as http:
        assert await states(http, "/tea", "/tea", "/tea") == ["MISS", "HIT", "HIT"]
        assert (await http.post("/tea")).json() == "ASSAM"
        assert (await http.get("/tea")).json() == "ASSAM"


def test_a_parameter_without_a_schema_is_not_taken_for_the_return_type() -> None:
    with pytest.raises(FastAPIError, match="Service"):

        @caching_app().get("/x")
        async def x(service: Service) -> Annotated[str, Cached(ttl=60)]:
            return service.name


class SaysMore(Response):
    """A response whose ``body`` is not what it sends."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"streamed"})


async def test_a_response_that_sends_itself_is_not_stored() -> None:
    app = caching_app()

    @app.get("/x")
    async def x() -> Annotated[Response, Cached(ttl=60)]:
        return SaysMore()

    async with serving(app) as http:
        assert [(await http.get("/x")).content for _ in range(2)] == [b"streamed"] * 2


async def test_a_response_with_a_cookie_is_private() -> None:
    app = caching_app()

    def visit(response: Response) -> None:
        response.set_cookie("visit", "1")

    @app.get("/x", dependencies=[Depends(visit)])
    async def x() -> Annotated[str, Cached(ttl=60)]:
        return "x"

    async with serving(app) as http:
        for _ in range(2):
            answer = await http.get("/x")
            assert "set-cookie" in answer.headers
            assert "private" in answer.headers["cache-control"]


async def test_a_head_route_of_the_author_does_not_fill_the_entry_of_the_get() -> None:
    app = caching_app()

    @app.api_route("/x", methods=["GET", "HEAD"])
    async def x(request: Request) -> Annotated[str, Cached(ttl=60, shared=True)]:
        return "" if request.method == "HEAD" else "body"

    async with serving(app) as http:
        await http.head("/x")
        assert (await http.get("/x")).json() == "body"


async def test_a_put_applies_the_predicate_of_its_get() -> None:
    app = caching_app()
    shelf = {1: Product(id=1, name="tea")}

    @app.get("/p/{pid}")
    async def read(pid: int) -> Annotated[Product, Cached(ttl=60, when=lambda p: p.name != "-")]:
        return shelf[pid]

    @app.put("/p/{pid}")
    async def write(pid: int, product: Product) -> Annotated[Product, CachePut()]:
        shelf[pid] = product
        return product

    async with serving(app) as http:
        await http.get("/p/1")
        await http.put("/p/1", json={"id": 1, "name": "-"})
        assert await states(http, "/p/1", "/p/1") == ["MISS", "BYPASS"]
        assert (await http.get("/p/1")).json()["name"] == "-"


async def test_an_eviction_by_endpoint_follows_its_prefix_and_key() -> None:
    app = caching_app()

    @app.get("/a/{pid}", dependencies=[Depends(cache(ttl=60, prefix="old"))])
    async def a(pid: int) -> int:
        return pid

    @app.get("/b/{pid}")
    async def b(pid: int) -> Annotated[int, Cached(ttl=60, key="/elsewhere/{pid}")]:
        return pid

    @app.delete("/p/{pid}")
    async def drop(pid: int) -> Annotated[None, CacheEvict(key=a), CacheEvict(key=b)]: ...

    async with serving(app) as http:
        assert await states(http, "/a/1", "/a/1", "/b/1", "/b/1") == ["MISS", "HIT"] * 2
        await http.delete("/p/1")
        assert await states(http, "/a/1", "/b/1") == ["MISS", "MISS"]


async def test_a_redirect_raised_after_a_write_evicts() -> None:
    app = caching_app()

    @app.get("/x")
    async def x() -> Annotated[str, Cached(ttl=60, group="xs")]:
        return "x"

    @app.post("/x")
    async def post() -> Annotated[None, CacheEvict(group="xs")]:
        raise HTTPException(303, headers={"location": "/x"})

    async with serving(app) as http:
        await http.get("/x")
        await http.post("/x")
        assert await states(http, "/x") == ["MISS"]


@pytest.mark.skipif(
    tuple(map(int, fastapi.__version__.split(".")[:2])) < (0, 123),
    reason="this FastAPI takes a wrapped generator for a plain function",
)
async def test_a_wrapped_generator_dependency_commits_late_too() -> None:
    data, gate = {"x": "old"}, Gate()

    def traced(dependency: Any) -> Any:
        @functools.wraps(dependency)
        def wrapper(*args: Any, **options: Any) -> Any:
            return dependency(*args, **options)

        return wrapper

    @traced
    async def session() -> AsyncIterator[dict[str, str]]:
        pending: dict[str, str] = {}
        yield pending
        await gate.pass_through()
        data.update(pending)

    app = caching_app()

    @app.get("/x")
    async def x() -> Annotated[str, Cached(ttl=60, group="xs")]:
        return data["x"]

    @app.put("/x")
    async def put(
        pending: Annotated[dict[str, str], Depends(session)],
    ) -> Annotated[str, CacheEvict(group="xs")]:
        pending["x"] = "new"
        return "new"

    async with serving(app) as http:
        writing = asyncio.ensure_future(http.put("/x"))
        await gate.reached()
        await http.get("/x")
        gate.open()
        await writing
        assert (await http.get("/x")).json() == "new"


async def test_two_puts_that_commit_in_the_other_order_end_in_a_miss() -> None:
    data = {1: "none"}
    gates = {"first": Gate(), "second": Gate()}

    async def session(request: Request) -> AsyncIterator[dict[int, str]]:
        pending: dict[int, str] = {}
        yield pending
        await gates[request.query_params["name"]].pass_through()
        data.update(pending)

    app = caching_app()

    @app.get("/p/{pid}")
    async def read(pid: int) -> Annotated[str, Cached(ttl=60)]:
        return data[pid]

    @app.put("/p/{pid}")
    async def write(
        pid: int, name: str, pending: Annotated[dict[int, str], Depends(session)]
    ) -> Annotated[str, CachePut()]:
        pending[pid] = name
        return name

    async with serving(app) as http:
        first = asyncio.ensure_future(http.put("/p/1?name=first"))
        await gates["first"].reached()
        second = asyncio.ensure_future(http.put("/p/1?name=second"))
        await gates["second"].reached()
        gates["second"].open()
        await second
        gates["first"].open()
        await first
        assert data[1] == "first"
        assert (await http.get("/p/1")).json() == "first"


async def test_a_put_with_a_late_commit_stays_without_another_write() -> None:
    data = {1: "none"}

    async def session() -> AsyncIterator[dict[int, str]]:
        pending: dict[int, str] = {}
        yield pending
        data.update(pending)

    app = caching_app()

    @app.get("/p/{pid}")
    async def read(pid: int) -> Annotated[str, Cached(ttl=60)]:
        return data[pid]

    @app.put("/p/{pid}")
    async def write(
        pid: int, name: str, pending: Annotated[dict[int, str], Depends(session)]
    ) -> Annotated[str, CachePut()]:
        pending[pid] = name
        return name

    async with serving(app) as http:
        await http.put("/p/1?name=new")
        answer = await http.get("/p/1")
        assert (answer.json(), state_of(answer)) == ("new", "HIT")


async def test_a_query_model_that_sees_everything_is_keyed_by_everything() -> None:
    class Search(BaseModel):
        text: str = ""
        extras: int = 0

        @model_validator(mode="before")
        @classmethod
        def count(cls, data: Any) -> Any:
            return {**data, "extras": len(data)}

    app = caching_app()

    @app.get("/x")
    async def x(search: Annotated[Search, fastapi.Query()]) -> Annotated[int, Cached(ttl=60)]:
        return search.extras

    async with serving(app) as http:
        first = (await http.get("/x?text=a")).json()
        assert state_of(await http.get("/x?text=a")) == "HIT"
        assert state_of(await http.get("/x?text=a&zzz=2")) == "MISS"
        assert first is not None


async def test_a_model_whose_schema_holds_huge_numbers_is_cached() -> None:
    class Huge(BaseModel):
        value: Annotated[int, Field(le=2**70)] = 1

    app = caching_app()

    @app.get("/x")
    async def x() -> Annotated[Huge, Cached(ttl=60)]:
        return Huge()

    async with serving(app) as http:
        assert await states(http, "/x", "/x") == ["MISS", "HIT"]
