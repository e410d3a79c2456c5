"""A hit that is sent without routing is the response that routing would have led to."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any

import fastapi.applications
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException
from fastapi.dependencies.utils import get_parameterless_sub_dependant
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from httpx import AsyncClient
from httpx import Response as Answer
from starlette.applications import Starlette
from starlette.convertors import CONVERTOR_TYPES, Convertor
from starlette.middleware import Middleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Host, Match, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from redis_fastapi import Cached, CacheEvict, CacheRoute, FastAPIRedis, _http
from redis_fastapi._engine.engine import Engine
from redis_fastapi._engine.waiting import Waiters
from redis_fastapi._policy.handlers import INCLUDES_LAZILY
from redis_fastapi._serving import known_routes, shortcut
from redis_fastapi._serving.known_routes import KNOWN_ROUTES, KnownRoutes, Place
from redis_fastapi._serving.passage import CachePassage
from redis_fastapi._setup import fast_path
from redis_fastapi.cli._client import client_of
from redis_fastapi.cli._explain import explain
from redis_fastapi.telemetry import Answered, Event
from servers import wait_until
from support import Body, Door, Runs, both_doors, new_app, serving, settings, state_of

PATH = "/shop/items/1"
MEMBER = {"token": "right"}

lazily = pytest.mark.skipif(not INCLUDES_LAZILY, reason="included routes are the application's own")


class Routed:
    """How many requests came to the routing of an application."""

    def __init__(self) -> None:
        self.number = 0


@pytest.fixture
def routed(monkeypatch: pytest.MonkeyPatch) -> Routed:
    found, pass_on = Routed(), ExceptionMiddleware.__call__

    async def count_and_pass_on(self: Any, scope: Scope, *given: Any) -> None:
        found.number += scope["type"] == "http"
        await pass_on(self, scope, *given)

    monkeypatch.setattr(ExceptionMiddleware, "__call__", count_and_pass_on)
    return found


def routings(routed: Routed, app: Any, path: str = PATH, **options: Any) -> list[int]:
    """For each of three equal requests how often it was routed."""
    found = []
    with serving(app) as client:
        for _ in range(3):
            before = routed.number
            assert client.get(path, **options).status_code == 200
            found.append(routed.number - before)
    return found


def item(item_id: int) -> Annotated[Body, Cached(60)]:
    return {"id": item_id}


def items(prefix: str = "", **options: Any) -> APIRouter:
    router = APIRouter(route_class=CacheRoute, prefix=prefix, **options)
    router.add_api_route("/items/{item_id}", item)
    return router


def shop(**options: Any) -> FastAPI:
    """An application that serves `PATH` by a router that it includes."""
    app = new_app(**options)
    app.include_router(items(), prefix="/shop")
    return app


def members_only(token: Annotated[str, Header()] = "") -> None:
    if token != "right":
        raise HTTPException(401)


class Guard:
    """An ASGI application that lets members through to another one."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        passes = scope["type"] == "lifespan" or (b"token", b"right") in scope["headers"]
        await (self._app if passes else Response(status_code=401))(scope, receive, send)


# -- where hits are answered in front


@both_doors
def test_a_hit_is_sent_without_routing(routed: Routed, door: Door) -> None:
    app, router = new_app(), door.router(prefix="/shop")

    @door.get(router, "/items/{item_id}")
    async def get_item(item_id: int, size: int = 1) -> Any:
        return {"id": item_id, "size": size}

    app.include_router(router)
    assert routings(routed, app, f"{PATH}?size=2") == [1, 1, 0]


def _of_the_application() -> FastAPI:
    app = new_app()
    app.get(PATH)(item_one)
    return app


def item_one() -> Annotated[Body, Cached(60)]:
    return {"id": 1}


def _of_a_router_within_a_router() -> FastAPI:
    app, between = new_app(), APIRouter()
    between.include_router(items(), prefix="/shop")
    app.include_router(between)
    return app


def _behind_middleware_that_copies_the_scope() -> FastAPI:
    class Copying:
        def __init__(self, app: ASGIApp) -> None:
            self._app = app

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await self._app(dict(scope), receive, send)

    app = shop()
    app.add_middleware(Copying)
    return app


def _with_files_for_the_rest() -> FastAPI:
    app = shop()
    app.mount("/", StaticFiles(directory="."))
    return app


@pytest.mark.parametrize(
    "build",
    [
        _of_the_application,
        _of_a_router_within_a_router,
        _behind_middleware_that_copies_the_scope,
        _with_files_for_the_rest,
    ],
)
def test_every_plain_arrangement_of_routers_takes_the_fast_path(
    routed: Routed, build: Callable[[], FastAPI]
) -> None:
    assert routings(routed, build()) == [1, 1, 0]


def lifespan_of(app: FastAPI) -> Any:
    return lambda _: app.router.lifespan_context(app)


def within(outer: Starlette, app: FastAPI, path: str) -> Starlette:
    """The application mounted in another one, whose lifespan is its own."""
    outer.router.lifespan_context = lifespan_of(app)
    outer.mount(path, app)
    return outer


@pytest.mark.parametrize("outer", [FastAPI, Starlette])
def test_a_mounted_application_has_its_own_fast_path(
    routed: Routed, outer: type[Starlette]
) -> None:
    assert routings(routed, within(outer(), shop(), "/{tenant}"), f"/a{PATH}") == [2, 2, 1]


def test_applications_that_share_their_state_have_their_own_fast_paths(
    routed: Routed,
) -> None:
    outer, mounted = FastAPI(), FastAPI()
    mounted.state = outer.state
    outer.mount("/mounted", mounted)
    for app in (outer, mounted):
        FastAPIRedis(app, settings()).lifespan().caching()
        app.get(PATH)(item_one)
    assert routings(routed, outer, f"/mounted{PATH}") == [2, 2, 1]
    assert routings(routed, outer) == [1, 1, 0]


# -- what is never answered in front


def _with_a_dependency() -> FastAPI:
    app = new_app(dependencies=[Depends(members_only)])
    app.include_router(items(), prefix="/shop")
    return app


def _with_middleware_behind() -> FastAPI:
    app = shop()
    app.user_middleware.append(Middleware(Guard))
    return app


def _with_middleware_of_the_router() -> FastAPI:
    app = shop()
    app.router.middleware_stack = Guard(app.router.app)
    return app


def _with_a_stack_of_its_own() -> FastAPI:
    class Guarded(FastAPI):
        def build_middleware_stack(self) -> ASGIApp:
            within: Any = getattr(fastapi.applications, "AsyncExitStackMiddleware", lambda app: app)
            stack: ASGIApp = ExceptionMiddleware(within(Guard(self.router)))
            for one in reversed(self.user_middleware):
                stack = one.cls(stack, *one.args, **one.kwargs)
            return stack

    app = Guarded()
    FastAPIRedis(app, settings()).lifespan().caching()
    app.include_router(items(), prefix="/shop")
    return app


def _with_a_router_class_of_its_own() -> FastAPI:
    class Guarding(APIRouter):
        # where routers are included as they are, FastAPI calls it for the included one, too
        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            await Guard(super().handle)(scope, receive, send)

    app = new_app()
    router = Guarding(route_class=CacheRoute)
    router.add_api_route("/items/{item_id}", item)
    app.include_router(router, prefix="/shop")
    return app


def _behind_a_mount_at_nothing() -> Starlette:
    app = new_app()
    app.mount("", Guard(items("/shop")))
    return within(Starlette(), app, "")


def _behind_a_mount_and_included_too() -> Starlette:
    app, shared = new_app(), items("/shop")
    app.mount("", Guard(shared))
    app.include_router(shared)
    return within(Starlette(), app, "")


def _behind_a_plain_route_of_an_included_router() -> FastAPI:
    app, between = new_app(), APIRouter()
    between.routes.append(Route("/{rest:path}", Guard(items("/shop"))))
    app.include_router(between)
    return app


def _behind_a_mount_at_its_prefix_and_beside_it() -> FastAPI:
    app, shared = new_app(), items()
    app.mount("/shop", Guard(shared))
    app.routes.extend(shared.routes)
    return app


def _behind_a_plain_route() -> FastAPI:
    app = new_app()
    app.router.routes.append(Route("/{rest:path}", Guard(items("/shop"))))
    return app


def _behind_the_default() -> FastAPI:
    app = new_app()
    app.router.default = Guard(items("/shop"))
    return app


def _with_a_route_that_was_wrapped() -> FastAPI:
    app = _of_the_application()
    route = next(one for one in app.routes if isinstance(one, CacheRoute))
    route.app = Guard(route.app)
    return app


def _with_a_handle_put_on_the_route() -> FastAPI:
    app = new_app()
    app.add_api_route(PATH, item_one)
    route: Any = app.routes[-1]
    route.handle = Guard(route.handle)
    return app


def _with_a_router_as_its_handle() -> FastAPI:
    app, guarding = new_app(), Router()
    app.add_api_route(PATH, item_one)
    route: Any = app.routes[-1]
    guarding.middleware_stack = Guard(route.handle)
    route.handle = guarding.__call__
    return app


def _with_a_route_class_that_looks_further() -> FastAPI:
    class ForStrangers(APIRoute):
        def matches(self, scope: Scope) -> tuple[Match, Scope]:
            stranger = (b"token", b"right") not in scope["headers"]
            return super().matches(scope) if stranger else (Match.NONE, {})

    app = new_app()
    router = APIRouter(route_class=ForStrangers)
    router.add_api_route(PATH, refuse)
    app.include_router(router)
    app.include_router(items("/shop"))
    return app


def refuse() -> None:
    raise HTTPException(401)


def _beside_a_host() -> FastAPI:
    app = new_app()
    app.host("strangers", Guard(Router()))
    app.include_router(items("/shop"))
    return app


def barred(build: Callable[[], Starlette], *checks: str, marks: Any = ()) -> Any:
    """An application in which something before the endpoint looks at more than path and query.

    Args:
        build: Makes it.
        checks: What keeps its endpoint from being answered in front; none where it has no shortcut.
        marks: Of the case.
    """
    return pytest.param(build, checks, marks=marks, id=build.__name__.strip("_"))


BARRED = [
    barred(_with_middleware_behind, "_leads_to_routing"),
    barred(_with_a_stack_of_its_own, "_leads_to_routing"),
    barred(_with_middleware_of_the_router, "_is_untouched"),
    barred(_with_a_router_class_of_its_own, "_is_untouched", marks=lazily),
    barred(_behind_a_mount_at_nothing, "_chosen"),
    barred(_behind_a_mount_and_included_too, "_chosen"),
    barred(_behind_a_plain_route, "_chosen"),
    barred(_behind_a_plain_route_of_an_included_router, "_chosen", "_is_plain", marks=lazily),
    barred(_behind_the_default, "_chosen"),
    barred(_with_a_route_that_was_wrapped, "_is_own"),
    barred(_with_a_handle_put_on_the_route, "_is_own"),
    barred(_with_a_router_as_its_handle, "_function"),
    barred(_with_a_route_class_that_looks_further, "_is_ordinary"),
    barred(_beside_a_host, "_is_ordinary"),
]

CREDULOUS: dict[str, Any] = {
    "_chosen": lambda _, scope: (0, scope["route"]),
    "_function": lambda method, _: getattr(method, "__func__", method),
    "_is_ordinary": lambda _: True,
    "_is_own": lambda _: True,
    "_is_plain": lambda _: True,
    "_is_untouched": lambda _: True,
    "_leads_to_routing": lambda *_: True,
}
"""In place of each check, one that finds nothing amiss."""


def strangers_status(app: Starlette) -> int:
    """The response without credentials, after members' requests made an entry and a route."""
    with serving(app) as client:
        for _ in range(3):
            assert client.get(PATH, headers=MEMBER).status_code == 200
        return int(client.get(PATH, headers={"host": "strangers"}).status_code)


@pytest.mark.parametrize(
    ("build", "checks"), [*BARRED, barred(_behind_a_mount_at_its_prefix_and_beside_it)]
)
def test_nothing_in_front_of_an_endpoint_is_skipped(
    build: Callable[[], Starlette], checks: tuple[str, ...]
) -> None:
    assert strangers_status(build()) == 401


@pytest.mark.parametrize(("build", "checks"), BARRED)
def test_control_without_the_check_authentication_is_bypassed(
    monkeypatch: pytest.MonkeyPatch, build: Callable[[], Starlette], checks: tuple[str, ...]
) -> None:
    for check in checks:
        monkeypatch.setattr(
            known_routes if hasattr(known_routes, check) else fast_path, check, CREDULOUS[check]
        )
    monkeypatch.setattr(Place, "is_unchanged", lambda *_: True)
    assert strangers_status(build()) == 200


def test_an_unsuitable_route_is_examined_once(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, looked = known_routes._chosen, []

    def choose_and_note(*given: Any) -> tuple[int, BaseRoute | None]:
        looked.append(given)
        return chosen(*given)

    monkeypatch.setattr(known_routes, "_chosen", choose_and_note)
    with serving(_behind_a_mount_at_nothing()) as client:
        assert [state_of(client.get(PATH, headers=MEMBER)) for _ in range(4)][1:] == ["HIT"] * 3
    assert len(looked) == 1


def test_a_replaced_router_method_is_called(
    routed: Routed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instrumentation replaces methods by ones that bear their names."""
    handle = APIRoute.handle

    @functools.wraps(handle)
    async def handle_and_trace(*given: Any) -> None:
        await handle(*given)

    monkeypatch.setattr(APIRoute, "handle", handle_and_trace)
    assert routings(routed, shop()) == [1, 1, 1]


def test_a_route_that_caches_nothing_is_handled_by_fastapi_alone() -> None:
    async def plain() -> None: ...

    handled: list[Any] = [CacheRoute(PATH, endpoint).handle for endpoint in (plain, item_one)]
    assert [one.__func__ is APIRoute.handle for one in handled] == [True, False]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_route_class_may_override_handle(method: str) -> None:
    class Guarded(CacheRoute):
        async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
            await Guard(super().handle)(scope, receive, send)

    app, router = new_app(), APIRouter(route_class=Guarded)
    router.add_api_route(PATH, item_one)
    app.include_router(router)
    with serving(app) as client:
        for headers, status in ((MEMBER, 200), (MEMBER, 200), ({}, 401)):
            assert client.request(method, PATH, headers=headers).status_code == status


def test_a_limit_to_bodies_is_kept(routed: Routed) -> None:
    app = new_app()
    try:
        app.get(PATH, max_body_size=9)(item_one)
    except TypeError:
        pytest.skip("this FastAPI limits no bodies")
    assert routings(routed, app) == [1, 1, 1]


def test_fastapis_own_telemetry_sees_the_route(routed: Routed) -> None:
    app = shop()

    @app.middleware("http")
    async def observe(request: Request, call_next: Any) -> Any:
        request.scope["fastapi.telemetry"] = object()
        return await call_next(request)

    assert routings(routed, app) == [1, 1, 1]


def test_a_request_that_was_given_to_another_application_is_routed(routed: Routed) -> None:
    app, other = shop(), FastAPI()

    @app.middleware("http")
    async def give_away(request: Request, call_next: Any) -> Any:
        request.scope["app"] = other
        return await call_next(request)

    assert routings(routed, app) == [1, 1, 1]


async def test_an_explained_request_skips_the_fast_path(redis_url: str) -> None:
    app = shop(using=settings(url=redis_url))
    for _ in range(2):
        async with client_of(app) as client:
            await client.get(PATH)
    explanation = await explain(app, "GET", PATH, ())
    assert explanation.key is not None
    assert explanation.entry is not None


def test_without_the_lifespans_state_the_route_finds_its_cache_itself(routed: Routed) -> None:
    app = shop()

    @app.middleware("http")
    async def lose_state(request: Request, call_next: Any) -> Any:
        del request.scope["state"]
        return await call_next(request)

    assert routings(routed, app) == [1, 1, 1]


def test_without_caching_there_is_no_fast_path(routed: Routed) -> None:
    assert routings(routed, shop(using=settings(enabled=False))) == [1, 1, 1]


def test_a_long_query_is_not_remembered(routed: Routed) -> None:
    assert routings(routed, shop(), f"{PATH}?x={'x' * 2_000}") == [1, 1, 1]


def test_clients_cannot_grow_it_without_bound(
    routed: Routed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_path, "KnownRoutes", functools.partial(KnownRoutes, most=2))
    with serving(shop()) as client:
        found = []
        for number in (1, 1, 2, 2, 1, 3, 3, 1, 2):
            before = routed.number
            client.get(f"/shop/items/{number}")
            found.append(routed.number - before)
    assert found == [1, 1, 1, 1, 0, 1, 1, 0, 1]  # the one that was not used for longest went


def test_a_path_is_known_as_long_as_one_of_its_aliases(routed: Routed) -> None:
    app = shop()
    with serving(app) as client:
        for query in ("?x=1", "?x=1", "?x=2", "?x=2", "?x=1", "?x=2"):
            client.get(PATH + query)
        known = known_routes_of(app)
        assert (routed.number, known.paths) == (4, {PATH: 2})
        known._forget(next(iter(known._known)))
        assert known.paths == {PATH: 1}
        known._forget(next(iter(known._known)))
        assert not known.paths


def known_routes_of(app: FastAPI) -> KnownRoutes:
    """The known routes of a started application."""
    known: KnownRoutes = getattr(app, KNOWN_ROUTES)
    return known


def test_another_start_has_its_own_known_routes_and_cache(routed: Routed) -> None:
    app, states = shop(), []
    for _ in range(2):
        with serving(app) as client:
            states += [state_of(client.get(PATH)) for _ in range(3)]
    assert states == ["MISS", "HIT", "HIT"] * 2
    assert routed.number == 3


def test_listeners_see_hits_of_the_fast_path(routed: Routed) -> None:
    app, heard = shop(), list[Event]()
    FastAPIRedis(app).listen(heard.append)
    assert routings(routed, app) == [1, 1, 0]
    states = [event.state for event in heard if isinstance(event, Answered)]
    assert states == ["MISS", "HIT", "HIT"]


# -- what was sent before, sent again without a passage


NOW_MS = 1_900_000_000_000


class Passages:
    """How many requests began a passage, in one and the same second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        begin = CachePassage.__init__

        def count_and_begin(*given: Any) -> None:
            self.number += 1
            begin(*given)

        monkeypatch.setattr(CachePassage, "__init__", count_and_begin)
        # an answer is made anew when a second of its age ends
        monkeypatch.setattr(Engine, "now_ms", lambda _: NOW_MS)

    @contextmanager
    def needless(self, app: FastAPI) -> Iterator[TestClient]:
        """A client of an application in which a hit of `PATH` begins none any more."""

        def has_begun_none() -> bool:
            before = self.number
            assert client.get(PATH).status_code == 200
            return self.number == before

        with serving(app) as client:
            wait_until(has_begun_none, what="a hit without a passage")
            yield client


@pytest.fixture
def passages(monkeypatch: pytest.MonkeyPatch) -> Passages:
    return Passages(monkeypatch)


@pytest.fixture(params=[False, True], ids=["redis", "local"])
def hits(request: pytest.FixtureRequest, redis_url: str) -> FastAPI:
    """An application whose hits are Redis's, or of its local tier."""
    return shop(using=settings(url=redis_url, local_cache=request.param))


ASKING = [
    ({}, 200, 0),
    ({"if-none-match": "*"}, 304, 1),
    ({"if-modified-since": "Wed, 21 Oct 2037 07:28:00 GMT"}, 304, 1),
    ({"range": "bytes=0-1"}, 206, 1),
    ({"cache-control": "no-cache"}, 200, 1),
    ({"pragma": "no-cache"}, 200, 1),
]


@pytest.mark.parametrize(("headers", "status", "begun"), ASKING)
def test_a_prepared_response_is_sent_for_equal_requests_only(
    hits: FastAPI, passages: Passages, headers: dict[str, str], status: int, begun: int
) -> None:
    with passages.needless(hits) as client:
        before = passages.number
        assert client.get(PATH, headers=headers).status_code == status
        assert passages.number - before == begun


def test_control_without_comparing_conditions_a_range_gets_the_full_response(
    hits: FastAPI, passages: Passages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http, "caching_fields", lambda _: [])
    with passages.needless(hits) as client:
        assert client.get(PATH, headers={"range": "bytes=0-1"}).status_code == 200


def test_a_repeated_conditional_request_gets_the_prepared_304(
    hits: FastAPI, passages: Passages
) -> None:
    with passages.needless(hits) as client:
        headers = {"if-none-match": client.get(PATH).headers["etag"]}
        before = passages.number
        answers = [client.get(PATH, headers=headers) for _ in range(2)]
        assert passages.number - before == 1
    assert [(one.status_code, one.content) for one in answers] == [(304, b"")] * 2


def test_listeners_see_each_hit(redis_url: str) -> None:
    app, heard = shop(using=settings(url=redis_url, local_cache=True)), list[Event]()
    FastAPIRedis(app).listen(heard.append)

    def is_kept() -> bool:
        client.get(PATH)
        return any(isinstance(event, Answered) and event.local for event in heard)

    with serving(app) as client:
        wait_until(is_kept, what="a kept hit")
        heard.clear()
        for _ in range(2):
            client.get(PATH)
    assert [event.local for event in heard if isinstance(event, Answered)] == [True, True]


# -- when the routes change


def answering(status: int, path: str = PATH) -> Route:
    async def answer(request: Request) -> Response:
        return Response(status_code=status)

    return Route(path, answer)


def _inserted(app: FastAPI) -> None:
    app.routes.insert(0, answering(401))


def _in_a_new_list(app: FastAPI) -> None:
    app.router.routes = [answering(401), *app.routes]


def _in_the_place_of_another(app: FastAPI) -> None:
    app.routes[0] = answering(401)


def _in_its_own_place(app: FastAPI) -> None:
    app.routes[-1] = answering(401)


def _by_an_equal_one_with_a_guard(app: FastAPI) -> None:
    (own,) = (one for one in app.routes if isinstance(one, CacheRoute))
    app.routes[app.routes.index(own)] = CacheRoute(
        own.path, own.endpoint, methods=["GET"], dependencies=[Depends(members_only)]
    )


def _removed(app: FastAPI) -> None:
    app.routes.pop()


def _wrapped(app: FastAPI) -> None:
    (own,) = (one for one in app.routes if isinstance(one, CacheRoute))
    own.app = Guard(own.app)


def _with_one_more_dependency(app: FastAPI) -> None:
    (own,) = (one for one in app.routes if isinstance(one, CacheRoute))
    guard = get_parameterless_sub_dependant(depends=Depends(members_only), path=PATH)
    own.dependant.dependencies.append(guard)


def _with_another_call(app: FastAPI) -> None:
    (own,) = (one for one in app.routes if isinstance(one, CacheRoute))

    async def refuse_instead(**values: Any) -> None:
        refuse()

    own.dependant.call = refuse_instead


def _in_a_router_within_a_router(app: FastAPI) -> None:
    between = app.routes[-1].original_router  # type: ignore[attr-defined]  # an inclusion
    between.routes[0].original_router.routes.insert(0, answering(401, "/items/1"))
    # FastAPI derives anew what an inclusion made of the routes
    between.add_api_route("/other", refuse)


def _derived_anew(app: FastAPI) -> None:
    between = app.routes[-1].original_router  # type: ignore[attr-defined]  # an inclusion
    between.routes[0].include_context.dependencies.append(Depends(members_only))
    between.add_api_route("/other", refuse)
    between.routes.pop()


CHANGES = [
    (_of_the_application, _inserted),
    (_of_the_application, _in_a_new_list),
    (_of_the_application, _in_the_place_of_another),
    (_of_the_application, _in_its_own_place),
    (_of_the_application, _by_an_equal_one_with_a_guard),
    (_of_the_application, _removed),
    (_of_the_application, _wrapped),
    (_of_the_application, _with_one_more_dependency),
    (_of_the_application, _with_another_call),
    pytest.param(_of_a_router_within_a_router, _in_a_router_within_a_router, marks=lazily),
    pytest.param(_of_a_router_within_a_router, _derived_anew, marks=lazily),
]


def is_served_after(build: Callable[[], FastAPI], change: Callable[[FastAPI], None]) -> bool:
    """Whether the response is that from before a change."""
    app = build()
    with serving(app) as client:
        for _ in range(3):
            assert client.get(PATH).status_code == 200
        change(app)
        return bool(client.get(PATH).status_code == 200)


@pytest.mark.parametrize(("build", "change"), CHANGES)
def test_a_change_of_the_routes_is_seen_by_the_next_request(
    build: Callable[[], FastAPI], change: Callable[[FastAPI], None]
) -> None:
    assert not is_served_after(build, change)


@pytest.mark.parametrize(("build", "change"), CHANGES)
def test_control_without_the_check_the_old_route_serves(
    monkeypatch: pytest.MonkeyPatch,
    build: Callable[[], FastAPI],
    change: Callable[[FastAPI], None],
) -> None:
    monkeypatch.setattr(KnownRoutes, "_have_changed", lambda _: False)
    monkeypatch.setattr(Place, "is_unchanged", lambda *_: True)
    assert is_served_after(build, change)


def test_after_a_change_of_the_routes_they_are_learned_again(routed: Routed) -> None:
    app = shop()
    with serving(app) as client:
        found = []
        for _ in range(2):
            for _ in range(3):
                before = routed.number
                client.get(PATH)
                found.append(routed.number - before)
            app.add_api_route("/other", refuse)
    assert found == [1, 1, 0, 1, 0, 0]


class Relative(Convertor[str]):
    """A custom convertor, whose result for ``today`` changes."""

    regex = "[^/]+"

    def __init__(self) -> None:
        self.today = "monday"

    def convert(self, value: str) -> str:
        return self.today if value == "today" else value

    def to_string(self, value: str) -> str:
        return value


def news_after_midnight(
    monkeypatch: pytest.MonkeyPatch, build: Callable[[APIRouter], FastAPI]
) -> str:
    """The day of the response, for a path that was also requested the day before."""
    relative = Relative()
    monkeypatch.setitem(CONVERTOR_TYPES, "relative", relative)
    router = APIRouter(route_class=CacheRoute)

    @router.get("/{day:relative}/news")
    def news(day: str) -> Annotated[str, Cached(60)]:
        return day

    with serving(build(router)) as client:
        for _ in range(3):
            assert client.get("/today/news").json() == "monday"
        relative.today = "tuesday"
        return str(client.get("/today/news").json())


def _included(router: APIRouter) -> FastAPI:
    app = new_app()
    app.include_router(router)
    return app


def _mounted(router: APIRouter) -> FastAPI:
    app = new_app()
    app.mount("", router)
    return app


@pytest.mark.parametrize("build", [_included, _mounted])
def test_a_custom_convertor_is_called_for_every_request(
    monkeypatch: pytest.MonkeyPatch, build: Callable[[APIRouter], FastAPI]
) -> None:
    assert news_after_midnight(monkeypatch, build) == "tuesday"


@pytest.mark.parametrize(
    ("build", "module", "check", "without"),
    [
        (_included, known_routes, "_depends_on_its_text", lambda _: True),
        (_mounted, shortcut, "_routed_alias_of", shortcut.alias_of),
    ],
)
def test_control_comparing_only_the_text_sends_outdated_responses(
    monkeypatch: pytest.MonkeyPatch,
    build: Callable[[APIRouter], FastAPI],
    module: Any,
    check: str,
    without: Callable[..., Any],
) -> None:
    monkeypatch.setattr(module, check, without)
    assert news_after_midnight(monkeypatch, build) == "monday"


# -- what middleware sees

PRIVATE = {
    *("fastapi_astack", "fastapi_inner_astack", "fastapi_function_astack"),
    *("fastapi_middleware_astack", "starlette.exception_handlers", "redis_fastapi_learner"),
}
"""What frameworks leave in a scope and have closed, or need for errors only."""


class Noting:
    """A middleware that notes each scope after its response."""

    def __init__(self, app: ASGIApp, seen: list[Scope]) -> None:
        self._app = app
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        finally:
            if scope["type"] == "http":
                self._seen.append({name: scope[name] for name in scope.keys() - PRIVATE})


def at_hosts(app: FastAPI) -> Starlette:
    """The application, served to each tenant at a host of its own."""
    hosts = [Host("{tenant}.example", app)]
    return Starlette(routes=hosts, lifespan=lifespan_of(app))


@pytest.mark.parametrize(
    ("build", "surround", "path"),
    [
        (_of_the_application, None, PATH),
        (shop, None, PATH),
        (_of_a_router_within_a_router, None, PATH),
        (shop, lambda app: within(FastAPI(), app, "/{tenant}"), f"/a{PATH}"),
        (shop, lambda app: within(Starlette(), app, "/{tenant}"), f"/a{PATH}"),
        (shop, at_hosts, PATH),
    ],
)
def test_middleware_sees_the_scope_that_routing_leaves(
    routed: Routed, build: Callable[[], FastAPI], surround: Any, path: str
) -> None:
    app = build()
    seen: list[Scope] = []
    app.add_middleware(Noting, seen=seen)
    served = app if surround is None else surround(app)
    with serving(served) as client:
        for _ in range(2):
            client.get(path, headers={"host": "b.example"})
        seen.pop()
        before = routed.number
        client.get(path, headers={"host": "a.example"})
        client.get(path, headers={"host": "a.example"})
    assert routed.number - before == (0 if surround is None else 2)
    assert [sorted(one) for one in seen[:2]] == [sorted(one) for one in seen[1:]]
    names = ("app", "endpoint", "path_params", "root_path", "app_root_path", "route", "router")
    told = [{name: one.get(name) for name in (*names, "fastapi")} for one in seen]
    if surround is at_hosts:
        tenants = [one["path_params"].pop("tenant") for one in seen]
        assert tenants == ["b", "a", "a"]
    assert told[0] == told[1] == told[2]


def test_changes_to_one_scope_are_not_seen_by_the_next(routed: Routed) -> None:
    app = shop()
    seen: list[Any] = []

    @app.middleware("http")
    async def note(request: Request, call_next: Any) -> Any:
        answer = await call_next(request)
        seen.append((dict(request.scope["path_params"]), dict(request.scope.get("fastapi", {}))))
        request.scope["path_params"].clear()
        request.scope.get("fastapi", {}).clear()
        return answer

    assert routings(routed, app) == [1, 1, 0]
    assert seen[0] == seen[1] == seen[2]


# -- lookups and leases


class Shop:
    """A client of an application whose endpoint waits on request, on this event loop.

    Its way is known, and nothing is in the cache.
    """

    def __init__(self, app: FastAPI, client: AsyncClient) -> None:
        self.app = app
        self._client = client
        self.runs = Runs()
        self.entered = asyncio.Event()
        self.may_end = asyncio.Event()
        app.get(PATH)(self.show)
        app.delete(PATH)(self.remove)

    async def show(self) -> Annotated[Body, Cached(60)]:
        """The endpoint."""
        self.runs.note()
        self.entered.set()
        await self.may_end.wait()
        return {}

    async def remove(self) -> Annotated[None, CacheEvict(key=PATH)]:
        """Evicts the endpoint's response."""

    async def prepare(self) -> None:
        """Make its way known."""
        self.may_end.set()
        await self.get()
        assert state_of(await self.get()) == "HIT"
        await self._client.delete(PATH)
        self.may_end.clear()
        self.entered.clear()
        self.runs.names.clear()

    async def get(self) -> Answer:
        return await self._client.get(PATH)

    def begin(self) -> "asyncio.Task[Answer]":
        """Begin a request."""
        return asyncio.ensure_future(self.get())

    async def begin_two(self) -> "tuple[asyncio.Task[Answer], asyncio.Task[Answer]]":
        """Begin a request that computes, and one that waits for it."""
        first = self.begin()
        await self.entered.wait()
        other = self.begin()
        await asyncio.sleep(0)
        return first, other


@asynccontextmanager
async def open_shop(app: FastAPI | None = None, **changes: Any) -> AsyncIterator[Shop]:
    app = app or new_app(using=settings(**changes))
    async with client_of(app) as client:
        found = Shop(app, client)
        await found.prepare()
        yield found


async def look_ups_of_a_miss(monkeypatch: pytest.MonkeyPatch) -> int:
    outcome, seen = Engine._outcome, Runs()

    def count_outcomes(*given: Any) -> Any:
        seen.note()
        return outcome(*given)

    async with open_shop(wait_max=0.05) as shop:
        monkeypatch.setattr(Engine, "_outcome", count_outcomes)
        shop.may_end.set()
        assert (await shop.get()).status_code == 200
    return len(seen)


async def test_a_miss_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await look_ups_of_a_miss(monkeypatch) == 1


async def test_control_without_its_passage_a_miss_is_looked_up_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fast_path, "BEGUN_PASSAGE", "lost on the way")
    assert await look_ups_of_a_miss(monkeypatch) == 2


async def test_control_without_the_outcome_a_passage_looks_up_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    early = CachePassage.before_dependencies
    monkeypatch.setattr(
        CachePassage, "before_dependencies", lambda self, known, *_: early(self, known)
    )
    assert await look_ups_of_a_miss(monkeypatch) == 2


Comer = Callable[[Shop], BaseRoute]
COMERS: list[Comer] = [lambda _: answering(404), lambda shop: CacheRoute(PATH, shop.show)]


async def waits_when_a_route_comes_and_goes(monkeypatch: pytest.MonkeyPatch, comer: Comer) -> int:
    """How often a request waits for one during whose lookup the routes changed."""
    early, wait, waits = CachePassage.before_dependencies, Waiters.wait, Runs()

    async def look_up_and_change(*given: Any) -> Response | None:
        answer = await early(*given)
        shop.app.routes.insert(0, route)
        return answer

    def note_and_wait(*given: Any) -> Any:
        waits.note()
        return wait(*given)

    async with open_shop(wait_max=0.05) as shop:
        monkeypatch.setattr(Waiters, "wait", note_and_wait)
        route = comer(shop)
        shop.may_end.set()
        with monkeypatch.context() as patched:
            patched.setattr(CachePassage, "before_dependencies", look_up_and_change)
            assert state_of(await shop.get()) == ("MISS" if isinstance(route, CacheRoute) else None)
        shop.app.routes.remove(route)
        assert (await shop.get()).status_code == 200
    return len(waits)


@pytest.mark.parametrize("comer", COMERS)
async def test_no_lease_is_left_when_the_routes_change_during_the_lookup(
    monkeypatch: pytest.MonkeyPatch, comer: Comer
) -> None:
    assert await waits_when_a_route_comes_and_goes(monkeypatch, comer) == 0


@pytest.mark.parametrize("comer", COMERS)
async def test_control_the_lease_of_an_abandoned_passage_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, comer: Comer
) -> None:
    async def do_nothing(*_: object) -> None: ...

    monkeypatch.setattr(CachePassage, "abandon", do_nothing)
    assert await waits_when_a_route_comes_and_goes(monkeypatch, comer) > 0


async def test_requests_waiting_on_the_fast_path_get_what_one_computes() -> None:
    async with open_shop() as shop:
        first = shop.begin()
        await shop.entered.wait()
        others = [shop.begin() for _ in range(3)]
        await asyncio.sleep(0)
        shop.may_end.set()
        states = [state_of(answer) for answer in await asyncio.gather(first, *others)]
    assert states == ["MISS", "HIT", "HIT", "HIT"]
    assert len(shop.runs) == 1


async def test_a_cancelled_waiter_of_the_fast_path_affects_no_other() -> None:
    async with open_shop() as shop:
        first, other = await shop.begin_two()
        other.cancel()
        await asyncio.wait((other,))
        shop.may_end.set()
        assert state_of(await first) == "MISS"
        assert state_of(await shop.get()) == "HIT"


async def test_middleware_and_listeners_see_a_request_cancelled_while_it_waits() -> None:
    app, heard, seen = new_app(), list[Event](), list[Scope]()
    FastAPIRedis(app).listen(heard.append)
    app.add_middleware(Noting, seen=seen)
    async with open_shop(app) as shop:
        first = shop.begin()
        await shop.entered.wait()
        heard.clear()
        seen.clear()
        other = shop.begin()
        await asyncio.sleep(0)
        other.cancel()
        await asyncio.wait((other,))
        assert [one.reason for one in heard if isinstance(one, Answered)] == ["failed"]
        assert [one["endpoint"] for one in seen] == [
            one["endpoint"] for one in seen if one["route"]
        ]
        shop.may_end.set()
        await first


async def test_after_a_cancelled_leader_of_the_fast_path_the_next_request_leads() -> None:
    async with open_shop() as shop:
        first, other = await shop.begin_two()
        first.cancel()
        await asyncio.wait((first,))
        shop.may_end.set()
        assert state_of(await other) == "MISS"
    assert len(shop.runs) == 2
