"""A hit sent before dependencies are resolved is the response that they would have led to."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from enum import Enum
from itertools import count
from typing import Annotated, Any, Literal

import fastapi.routing
import pytest
from fakeredis import FakeServer
from fastapi import (
    APIRouter,
    BackgroundTasks,
    Cookie,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Path,
    Query,
    Request,
    Response,
)
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import solve_dependencies
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from fastapi.security.base import SecurityBase
from fastapi.testclient import TestClient
from httpx import Response as Answer
from hypothesis import assume, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, BeforeValidator
from starlette.datastructures import QueryParams

from redis_fastapi import Cached, CacheEvict, CacheRoute, RedisSettings, get_async_redis, route
from redis_fastapi._engine.engine import Hit
from redis_fastapi._http import IGNORED, Fresh, assess_freshness
from redis_fastapi._redis.entry import Entry
from redis_fastapi._redis.keys import Target
from redis_fastapi._routes.targets import read_target
from redis_fastapi._serving import reading, shortcut
from redis_fastapi._serving.prepared import Prepared, prepared
from redis_fastapi._serving.responses import replayed
from redis_fastapi._serving.shortcut import Shortcut
from redis_fastapi._setup.fast_path import fast_path
from servers import wait_until
from support import Body, Door, both_doors, new_app, serving, settings, share_server, state_of

TARGET = Target("0" * 32, (), b"\0" * 8)


class Resolved:
    """How often FastAPI resolved dependencies."""

    def __init__(self) -> None:
        self.number = 0


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> Resolved:
    found, solve = Resolved(), solve_dependencies

    async def solve_and_count(**given: Any) -> Any:
        found.number += 1
        return await solve(**given)

    monkeypatch.setattr(fastapi.routing, "solve_dependencies", solve_and_count)
    # what counts here would close every early shortcut
    monkeypatch.setattr(shortcut, "is_instrumented", lambda: False)
    return found


def item(item_id: int) -> Annotated[Body, Cached(60)]:
    return {"id": item_id}


def app_with(
    endpoint: Callable[..., Any] = item,
    path: str = "/items/{item_id}",
    *,
    using: RedisSettings | None = None,
    **options: Any,
) -> FastAPI:
    app = new_app(using=using)
    router = APIRouter(route_class=CacheRoute)
    router.add_api_route(path, endpoint, **options)
    app.include_router(router, prefix="/shop")
    return app


def resolutions(resolved: Resolved, app: FastAPI, path: str, **options: Any) -> list[int]:
    """For each of three equal requests whether dependencies were resolved."""
    found = []
    with serving(app) as client:
        for state in ("MISS", "HIT", "HIT"):
            before = resolved.number
            assert state_of(client.get(path, **options)) == state
            found.append(resolved.number - before)
    return found


@both_doors
def test_a_hit_is_sent_before_dependencies_are_resolved(resolved: Resolved, door: Door) -> None:
    app, router = new_app(), door.router(prefix="/shop")

    @door.get(router, "/items/{item_id}")
    async def get_item(item_id: int, size: int = 1) -> Any:
        return {"id": item_id, "size": size}

    app.include_router(router)
    assert resolutions(resolved, app, "/shop/items/1?size=2") == [1, 0, 0]


class Colour(Enum):
    RED = "red"


def plain(
    item_id: Annotated[int, Path(gt=0)],
    response: Response,
    tasks: BackgroundTasks,
    word: Annotated[str, Query(max_length=9, pattern="^[a-z]+$")] = "a",
    colour: Colour | None = None,
    kind: Literal["x", "y"] = "x",
    days: Annotated[list[date], Query()] = [],  # noqa: B006
) -> Annotated[Body, Cached(60)]:
    return {}


def test_bounds_enumerations_and_lists_allow_an_early_shortcut(resolved: Resolved) -> None:
    path = "/shop/items/1?word=b&colour=red&kind=y&days=2026-01-01&days=2026-01-02"
    assert resolutions(resolved, app_with(plain), path) == [1, 0, 0]


def nothing() -> None: ...


def takes_request(item_id: int, request: Request) -> Annotated[Body, Cached(60, shared=True)]:
    return {}


def takes_header(item_id: int, lang: Annotated[str, Header()]) -> Annotated[Body, Cached(60)]:
    return {}


def takes_cookie(item_id: int, lang: Annotated[str, Cookie()]) -> Annotated[Body, Cached(60)]:
    return {}


def takes_dependency(
    item_id: int, lang: Annotated[None, Depends(nothing)]
) -> Annotated[Body, Cached(60)]:
    return {}


def takes_validated(
    item_id: Annotated[int, AfterValidator(lambda value: value)],
) -> Annotated[Body, Cached(60)]:
    return {}


def takes_parsed(
    item_id: Annotated[int, BeforeValidator(lambda value: value)],
) -> Annotated[Body, Cached(60)]:
    return {}


def takes_validated_words(
    item_id: int, words: Annotated[list[Annotated[str, AfterValidator(str)]], Query()]
) -> Annotated[Body, Cached(60)]:
    return {}


class Filters(BaseModel):
    lang: str


def takes_model(item_id: int, filters: Annotated[Filters, Query()]) -> Annotated[Body, Cached(60)]:
    return {}


class Guessed(Enum):
    ONE = 1

    @classmethod
    def _missing_(cls, value: object) -> Any:
        return cls.ONE


def takes_guess(item_id: Guessed) -> Annotated[Body, Cached(60)]:
    return {}


def takes_endpoint_as_key(item_id: int) -> Annotated[Body, Cached(60, key=item)]:
    return {}


@pytest.mark.parametrize(
    "endpoint",
    [
        takes_request,
        takes_header,
        takes_cookie,
        takes_dependency,
        takes_validated,
        takes_parsed,
        takes_validated_words,
        takes_model,
        takes_guess,
        takes_endpoint_as_key,
    ],
)
def test_reading_more_than_path_and_query_excludes_a_shortcut(
    resolved: Resolved, endpoint: Callable[..., Any]
) -> None:
    app = app_with(endpoint)
    if endpoint is takes_endpoint_as_key:
        app.include_router(_items())
    headers = {"lang": "de", "cookie": "lang=de"}
    path = "/shop/items/1?words=a&lang=de"
    assert resolutions(resolved, app, path, headers=headers) == [1, 1, 1]


def _items() -> APIRouter:
    router = APIRouter(route_class=CacheRoute)
    router.add_api_route("/items/{item_id}", item)
    return router


class Timed(APIRoute):
    """A user's own route class, which may do anything."""


def _with_own_route_class() -> FastAPI:
    app = new_app()
    router = APIRouter(route_class=type("CachedTimed", (CacheRoute, Timed), {}))
    router.add_api_route("/items/{item_id}", item)
    app.include_router(router, prefix="/shop")
    return app


def _guarded_at_the_application() -> FastAPI:
    app = new_app(dependencies=[Depends(nothing)])
    app.include_router(_items(), prefix="/shop")
    return app


def _guarded_at_the_router() -> FastAPI:
    app, router = new_app(), APIRouter(route_class=CacheRoute, dependencies=[Depends(nothing)])
    router.add_api_route("/items/{item_id}", item)
    app.include_router(router, prefix="/shop")
    return app


def _guarded_at_the_inclusion() -> FastAPI:
    app = new_app()
    app.include_router(_items(), prefix="/shop", dependencies=[Depends(nothing)])
    return app


def _guarded_at_the_route() -> FastAPI:
    return app_with(dependencies=[Depends(nothing)])


@pytest.mark.parametrize(
    "build",
    [
        _with_own_route_class,
        _guarded_at_the_application,
        _guarded_at_the_router,
        _guarded_at_the_inclusion,
        _guarded_at_the_route,
    ],
)
def test_guards_and_route_classes_of_the_user_exclude_an_early_shortcut(
    resolved: Resolved, build: Callable[[], FastAPI]
) -> None:
    assert resolutions(resolved, build(), "/shop/items/1") == [1, 1, 1]


def test_of_two_inclusions_only_the_unguarded_one_has_a_shortcut(resolved: Resolved) -> None:
    app, shared = new_app(), _items()
    app.include_router(shared, prefix="/open")
    app.include_router(shared, prefix="/guarded", dependencies=[Depends(nothing)])
    assert resolutions(resolved, app, "/open/items/1") == [1, 0, 0]
    assert resolutions(resolved, app, "/guarded/items/1") == [1, 1, 1]


def stranger_after_members() -> int:
    """Status without credentials, after members' requests made an entry and an alias."""

    def members_only(token: Annotated[str, Header()]) -> None:
        if token != "right":
            raise HTTPException(401)

    app = app_with(dependencies=[Depends(members_only)])
    with serving(app) as client:
        for _ in range(3):
            assert client.get("/shop/items/1", headers={"token": "right"}).status_code == 200
        return int(client.get("/shop/items/1", headers={"token": "wrong"}).status_code)


def test_without_credentials_the_entry_of_a_member_is_refused() -> None:
    assert stranger_after_members() == 401


def test_control_with_a_shortcut_everywhere_authentication_is_bypassed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(route, "shortcut_for", lambda _, dependant, *__, **___: Shortcut(dependant))
    assert stranger_after_members() == 200


# -- behind dependencies


def who(name: Annotated[str, Header()], response: Response) -> str:
    response.headers["x-hello"] = name
    return name


def shared_by_all(
    item_id: int, user: Annotated[str, Depends(who)]
) -> Annotated[Body, Cached(60, shared=True)]:
    return {}


def in_the_group_of(
    item_id: int, user: Annotated[str, Depends(who)]
) -> Annotated[Body, Cached(60, shared=True, group="of:{user}")]:
    return {}


def asked_by(app: FastAPI, *names: str) -> list[tuple[str | None, str]]:
    """State of the response, and the dependencies' results, for each client in turn."""
    with serving(app) as client:
        answers = [client.get("/shop/items/1", headers={"name": name}) for name in names]
    return [(state_of(answer), answer.headers["x-hello"]) for answer in answers]


@pytest.mark.parametrize("guards", [[], [Depends(HTTPBearer(auto_error=False))]])
def test_behind_dependencies_a_key_is_made_once(
    monkeypatch: pytest.MonkeyPatch, guards: list[Any]
) -> None:
    made = []

    async def make_and_note(*given: Any) -> Target:
        made.append(await read_target(*given))
        return made[-1]

    monkeypatch.setattr(reading, "read_target", make_and_note)
    states = asked_by(app_with(shared_by_all, dependencies=guards), "ada", "grace", "ada")
    assert states == [("MISS", "ada"), ("HIT", "grace"), ("HIT", "ada")]
    assert len(made) == 1


def test_a_group_named_by_a_dependency_is_computed_for_each_request() -> None:
    states = asked_by(app_with(in_the_group_of), "ada", "ada", "grace", "grace")
    assert [state for state, _ in states] == ["MISS", "HIT", "MISS", "HIT"]


def test_control_without_that_rule_an_entry_of_another_group_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shortcut, "_keyed_by_text", lambda *_: True)
    states = asked_by(app_with(in_the_group_of), "ada", "ada", "grace")
    assert [state for state, _ in states] == ["MISS", "HIT", "HIT"]


def own_id_for_me(request: Request, name: Annotated[str, Header()]) -> None:
    request.path_params["user_id"] = name


class OwnIdForMe(SecurityBase):
    async def __call__(self, request: Request) -> Any:
        own_id_for_me(request, request.headers["name"])


def own_name_for_none(request: Request, name: Annotated[str, Header()]) -> None:
    request._query_params = QueryParams({"user_id": name})


def basket(user_id: str) -> Annotated[Body, Cached(60)]:
    return {"of": user_id}


def basket_of(
    user_id: str, guard: Annotated[object, Depends(OwnIdForMe())]
) -> Annotated[Body, Cached(60, vary="user_id")]:
    return {"of": user_id}


def _below(change: Callable[..., Any]) -> Callable[..., Any]:
    def below(changed: Annotated[None, Depends(change)]) -> None: ...

    return below


CHANGED = [
    ("/baskets/{user_id}", basket, [Depends(own_id_for_me)]),
    ("/baskets/{user_id}", basket, [Depends(_below(own_id_for_me))]),
    ("/baskets/{user_id}", basket_of, []),
    ("/baskets/me", basket, [Depends(own_name_for_none)]),
]


def baskets_of_ada_and_grace(path: str, endpoint: Any, guards: list[Any]) -> list[str]:
    """Whose basket each of them is sent, all by the same text."""
    with serving(app_with(endpoint, path, dependencies=guards)) as client:
        names = ("ada", "ada", "grace")
        answers = [client.get("/shop/baskets/me", headers={"name": name}) for name in names]
    return [str(answer.json()["of"]) for answer in answers]


@pytest.mark.parametrize(("path", "endpoint", "guards"), CHANGED)
def test_changes_of_a_dependency_to_the_request_select(
    path: str, endpoint: Any, guards: list[Any]
) -> None:
    assert baskets_of_ada_and_grace(path, endpoint, guards) == ["ada", "ada", "grace"]


@pytest.mark.parametrize(("path", "endpoint", "guards"), CHANGED)
def test_control_without_that_check_one_user_gets_the_basket_of_another(
    monkeypatch: pytest.MonkeyPatch, path: str, endpoint: Any, guards: list[Any]
) -> None:
    monkeypatch.setattr(shortcut, "_reaches_endpoint_as_it_came", lambda _: True)
    monkeypatch.setattr(shortcut, "_routed_alias_of", shortcut.alias_of)
    assert baskets_of_ada_and_grace(path, endpoint, guards) == ["ada", "ada", "ada"]


def test_a_value_that_a_validator_now_refuses_is_refused() -> None:
    open_until = {"last": 9}

    def still_open(value: int) -> int:
        if value > open_until["last"]:
            raise ValueError("closed")
        return value

    def slot(day: Annotated[int, AfterValidator(still_open)]) -> Annotated[Body, Cached(60)]:
        return {}

    with serving(app_with(slot, "/slots/{day}")) as client:
        assert [state_of(client.get("/shop/slots/5")) for _ in range(2)] == ["MISS", "HIT"]
        open_until["last"] = 1
        assert client.get("/shop/slots/5").status_code == 422


def test_a_default_that_changes_selects_another_entry() -> None:
    numbers = count()

    def draw(
        number: Annotated[int, Query(default_factory=lambda: next(numbers))],
    ) -> Annotated[Body, Cached(60)]:
        return {"number": number}

    with serving(app_with(draw, "/draw")) as client:
        assert len({client.get("/shop/draw").json()["number"] for _ in range(3)}) == 3


def test_a_refused_request_stays_refused() -> None:
    with serving(app_with()) as client:
        client.get("/shop/items/1")
        assert [client.get("/shop/items/x").status_code for _ in range(3)] == [422] * 3


def test_spellings_of_one_value_are_one_entry(resolved: Resolved) -> None:
    with serving(app_with()) as client:
        states = [state_of(client.get(f"/shop/items/{text}")) for text in ("1", "01", "01", "%31")]
    assert states == ["MISS", "HIT", "HIT", "HIT"]
    assert resolved.number == 2  # %31 is decoded by the server, as ever


def test_an_eviction_is_seen_by_the_next_request(resolved: Resolved) -> None:
    app = app_with()

    @app.delete("/shop/items/{item_id}")
    def remove(item_id: int) -> Annotated[None, CacheEvict(key="/shop/items/{item_id}")]:
        return None

    with serving(app) as client:
        states = [state_of(client.get("/shop/items/1")) for _ in range(2)]
        client.delete("/shop/items/1")
        states += [state_of(client.get("/shop/items/1")) for _ in range(2)]
    assert states == ["MISS", "HIT", "MISS", "HIT"]


def test_an_override_of_the_client_is_served_from_its_own(resolved: Resolved) -> None:
    app = app_with()
    with serving(app) as client:
        assert [state_of(client.get("/shop/items/1")) for _ in range(2)] == ["MISS", "HIT"]
        share_server(app, FakeServer())
        assert [state_of(client.get("/shop/items/1")) for _ in range(2)] == ["MISS", "HIT"]
        app.dependency_overrides.pop(get_async_redis)
        app.dependency_overrides[nothing] = lambda: None
        before = resolved.number
        assert state_of(client.get("/shop/items/1")) == "HIT"
        assert resolved.number == before + 1


def test_switched_off_a_shared_router_is_not_cached() -> None:
    shared = _items()
    for enabled in (True, False):
        app = new_app(using=settings(enabled=enabled))
        app.include_router(shared, prefix="/shop")
        with serving(app) as client:
            states = [state_of(client.get("/shop/items/1")) for _ in range(3)]
        assert states == (["MISS", "HIT", "HIT"] if enabled else [None] * 3)


def test_an_endpoint_that_raises_lets_the_next_request_lead() -> None:
    fails = [False, True, False]

    def shaky() -> Annotated[Body, Cached(60)]:
        if fails.pop(0):
            raise HTTPException(503)
        return {}

    app = app_with(shaky, "/shaky")

    @app.delete("/shop/shaky")
    def remove() -> Annotated[None, CacheEvict(key="/shop/shaky")]:
        return None

    with serving(app) as client:
        client.get("/shop/shaky")
        client.delete("/shop/shaky")
        assert [client.get("/shop/shaky").status_code for _ in range(3)] == [503, 200, 200]


def alias_of(path: str, root_path: str = "") -> shortcut.RoutedAlias:
    return path, b"", root_path, None, "{}"


def test_clients_cannot_grow_it_without_bound() -> None:
    known = Shortcut(Dependant(), most=3)
    for number in range(9):
        known.learn(alias_of(f"/{number}"), TARGET)
        known.find(alias_of("/0"))
    assert len(known) == 3
    found = known.find(alias_of("/0"))
    assert found is not None
    assert found.target is TARGET
    for too_long in (alias_of("/" + "x" * 2_000), alias_of("/a", root_path="/" + "x" * 2_000)):
        known.learn(too_long, TARGET)
        assert known.find(too_long) is None


def test_an_alias_of_one_mount_does_not_lead_to_another() -> None:
    known = Shortcut(Dependant())
    known.learn(alias_of("/a/x", root_path="/a"), TARGET)
    assert known.find(alias_of("/a/x")) is None


# -- with and without it


@contextmanager
def each(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Iterator[list[TestClient]]:
    """Clients of one application: on the fast path, behind the routing, and without shortcuts."""
    with ExitStack() as stack:

        def client_with(prefix: str) -> TestClient:
            app = app_with(plain, using=settings(prefix=prefix, **changes))
            if prefix != "front":
                innermost: object = app.user_middleware.pop().cls
                assert innermost is fast_path
            return stack.enter_context(serving(app))

        clients = [client_with("front"), client_with("shortcut")]
        monkeypatch.setattr(route, "shortcut_for", lambda *_, **__: None)
        yield [*clients, client_with("long")]


def shown(answer: Answer) -> tuple[int, list[tuple[str, str]], bytes]:
    """What must be the same: everything but what time changes."""
    headers = [
        (name, value.partition("; ttl=")[0])
        for name, value in answer.headers.multi_items()
        if name not in ("age", "date")
    ]
    return answer.status_code, headers, answer.content


REQUESTS = st.tuples(
    st.sampled_from(["GET", "GET", "GET", "HEAD", "POST"]),
    st.sampled_from(["/shop/items/1", "/shop/items/01", "/shop/items/x", "/shop/items/0", "/none"]),
    st.sampled_from(["", "?word=b", "?word=B", "?colour=red&x=1", "?colour=blue", "?days=1"]),
    st.dictionaries(
        st.sampled_from(
            ["cache-control", "if-none-match", "if-modified-since", "range", "accept-encoding"]
        ),
        st.sampled_from(
            [
                *("no-cache", "no-store", "max-age=0", "only-if-cached", "*", 'W/"x"'),
                *("bytes=0-1", "Wed, 21 Oct 2037 07:28:00 GMT", "identity;q=0", "gzip"),
            ]
        ),
        max_size=2,
    ),
)


def _are_the_same(clients: list[TestClient], number: int) -> None:
    @examples(max_examples=number)
    @given(st.lists(REQUESTS, min_size=1, max_size=4))
    def are_the_same(requests: list[Any]) -> None:
        for method, path, query, headers in requests:
            *short, long = (
                shown(client.request(method, path + query, headers=headers)) for client in clients
            )
            assert short == [long, long]

    are_the_same()


def test_all_paths_give_the_same_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    with each(monkeypatch) as clients:
        _are_the_same(clients, 60)


def test_a_local_hit_is_sent_without_routing_too(
    monkeypatch: pytest.MonkeyPatch, redis_url: str
) -> None:
    sent_again = []
    respond = Prepared.response

    def respond_and_note(one: Prepared, body: bytes) -> Response:
        sent_again.append(one.status)
        return respond(one, body)

    monkeypatch.setattr(Prepared, "response", respond_and_note)
    with each(monkeypatch, url=redis_url, local_cache=True) as clients:
        # until the process hears of changes it keeps nothing
        wait_until(lambda: bool(clients[0].get("/shop/items/1") and sent_again), what="a kept hit")
        etag, *_ = (one.get("/shop/items/1").headers["etag"] for one in clients)
        for _ in range(3):
            *short, long = (
                shown(one.get("/shop/items/1", headers={"if-none-match": etag})) for one in clients
            )
            assert short == [long, long]
        _are_the_same(clients, 60)
    assert {200, 304} <= set(sent_again)


def test_all_paths_give_the_same_responses_behind_dependencies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[str] = []

    def greet(
        response: Response, tasks: BackgroundTasks, name: Annotated[str, Header()] = ""
    ) -> str:
        tasks.add_task(done.append, name)
        if name:
            response.set_cookie("name", name)
            response.headers["cache-control"] = f"max-age={len(name)}"
        return name

    def greeted(
        item_id: int, greeting: Annotated[str, Depends(greet)], size: int = 1
    ) -> Annotated[Body, Cached(60, shared=True)]:
        return {"id": item_id, "size": size}

    fields = [{}, {}, {"range": "bytes=0-1"}, {"if-none-match": "*"}, {"cache-control": "no-cache"}]
    asked = [
        (method, {**said, **by})
        for method in ("GET", "HEAD")
        for said in fields
        for by in ({}, {"name": "ada"}, {}, {"name": "grace"})
    ]
    with ExitStack() as stack:
        late = stack.enter_context(serving(app_with(greeted)))
        monkeypatch.setattr(route, "shortcut_for", lambda *_, **__: None)
        long = stack.enter_context(serving(app_with(greeted)))
        for method, headers in asked:
            answers = [
                shown(one.request(method, "/shop/items/1?size=2&size=3", headers=headers))
                for one in (late, long)
            ]
            assert answers[0] == answers[1]
    assert done == [headers.get("name", "") for _, headers in asked for _ in range(2)]


ENTRY = Entry(200, ((b"etag", b'"x"'), (b"content-type", b"text/plain")), b"body", 10_500, 0)
PLAIN_REQUEST: dict[str, Any] = {"method": "GET", "headers": []}


@given(st.integers(10_500, 20_000), st.integers(0, 1_500), st.integers(0, 12_000))
def test_a_prepared_response_ends_when_a_new_one_would_differ(
    made_ms: int, later_ms: int, fresh_ms: int
) -> None:
    entry = ENTRY._replace(fresh_ms=fresh_ms)

    def made_at(now_ms: int) -> Response | None:
        freshness = assess_freshness(
            IGNORED, age_ms=now_ms - entry.created_ms, lifetime_ms=entry.fresh_ms or None
        )
        if not isinstance(freshness, Fresh):
            return None
        told = [(b"cache-status", str(freshness.ttl).encode())]
        return replayed(PLAIN_REQUEST, entry, (), now_ms, told)

    first, then = made_at(made_ms), made_at(made_ms + later_ms)
    assume(first is not None)
    assert first is not None
    again = prepared(Hit(entry), first, [], now_ms=made_ms, ttl=None)
    assert again is not None
    same = then is not None and then.raw_headers == again.response(entry.body).raw_headers
    assert again.is_given_by(entry, made_ms + later_ms) == same


@pytest.mark.parametrize(("bytes_asked", "is_kept"), [(200, True), (300, False)])
def test_no_response_is_prepared_for_long_conditions(bytes_asked: int, is_kept: bool) -> None:
    asked = [(b"if-none-match", b'"%s"' % (b"x" * bytes_asked))]
    request = {**PLAIN_REQUEST, "headers": asked}
    response = replayed(request, ENTRY, (), ENTRY.created_ms, [])
    ready = prepared(Hit(ENTRY), response, asked, now_ms=ENTRY.created_ms, ttl=None)
    assert (ready is not None) == is_kept
