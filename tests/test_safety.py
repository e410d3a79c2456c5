"""Nobody is served what was made for another: the key, the gates, what is never stored."""

import logging
from collections.abc import Callable
from enum import Flag
from typing import Annotated, Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from fastapi import (
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
    Security,
)
from fastapi.security import (
    APIKeyCookie,
    APIKeyHeader,
    APIKeyQuery,
    HTTPAuthorizationCredentials,
    HTTPBearer,
    OAuth2PasswordBearer,
)
from fastapi.security.base import SecurityBase
from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from starlette.requests import HTTPConnection
from starlette.routing import Host

from redis_fastapi import (
    AsyncRedisDep,
    CacheBackendDep,
    Cached,
    CacheDeclarationError,
    CacheEvict,
    CachePut,
    _http,
    cache,
    cache_put,
)
from redis_fastapi._http import storability
from redis_fastapi._policy.policy import ReadPolicy, Selectors
from servers import RedisServer, free_port, redis_server_available
from support import (
    DEPENDENCY,
    MARKER,
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
    share_server,
    start_up,
    state_of,
)


@pytest.fixture
def without_selectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks the rule: the key holds the path alone."""
    monkeypatch.setattr(Selectors, "parts", lambda *_: ())


def bodies(app: FastAPI, *requests: dict[str, Any], path: str = "/x") -> list[Any]:
    """The response body of each request in turn; a request is what ``client.get`` takes."""
    with serving(app) as client:
        return [client.get(request.pop("path", path), **request).json() for request in requests]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Warnings of the library."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "redis_fastapi"
        and record.levelno >= logging.WARNING
        and "memory://" not in record.getMessage()
    ]


# -- what is in the key by itself


def app_by_path(door: Door) -> FastAPI:
    app = new_app()

    @door.get(app, "/items/{item_id}")
    async def item(item_id: int) -> Any:
        return {"item": item_id}

    return app


@both_doors
def test_path_parameters_select_the_entry(door: Door) -> None:
    found = bodies(app_by_path(door), {"path": "/items/1"}, {"path": "/items/2"})
    assert found == [{"item": 1}, {"item": 2}]


@both_doors
def test_control_without_the_path_in_the_key_the_wrong_item_is_served(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReadPolicy, "resource_at", lambda *_: "/items")
    found = bodies(app_by_path(door), {"path": "/items/1"}, {"path": "/items/2"})
    assert found == [{"item": 1}, {"item": 1}]


@both_doors
def test_two_spellings_of_one_path_value_share_the_entry(door: Door) -> None:
    with serving(app_by_path(door)) as client:
        client.get("/items/1")
        assert state_of(client.get("/items/01")) == "HIT"


def app_with(door: Door, endpoint: Callable[..., Any], **options: Any) -> FastAPI:
    app = new_app()
    door.get(app, "/x", **options)(endpoint)
    return app


async def by_query(q: str = "none") -> Any:
    return {"saw": q}


async def by_query_list(q: Annotated[list[str], Query()]) -> Any:
    return {"saw": q}


async def by_header(accept_language: Annotated[str, Header()] = "none") -> Any:
    return {"saw": accept_language}


async def by_header_list(x_tag: Annotated[list[str] | None, Header()] = None) -> Any:
    return {"saw": x_tag or []}


async def by_cookie(theme: Annotated[str, Cookie()] = "none") -> Any:
    return {"saw": theme}


async def read_query(q: str = "none") -> str:
    return q


async def read_header(x_tenant: Annotated[str, Header()] = "none") -> str:
    return x_tenant


async def read_cookie(theme: Annotated[str, Cookie()] = "none") -> str:
    return theme


async def read_nested(tenant: Annotated[str, Depends(read_header)]) -> str:
    return tenant


class ReadByClass:
    def __init__(self, x_tenant: Annotated[str, Header()] = "none") -> None:
        self.tenant = x_tenant


async def by_dependency_query(value: Annotated[str, Depends(read_query)]) -> Any:
    return {"saw": value}


async def by_dependency_header(value: Annotated[str, Depends(read_header)]) -> Any:
    return {"saw": value}


async def by_dependency_cookie(value: Annotated[str, Depends(read_cookie)]) -> Any:
    return {"saw": value}


async def by_nested_dependency(value: Annotated[str, Depends(read_nested)]) -> Any:
    return {"saw": value}


async def by_class_dependency(value: Annotated[ReadByClass, Depends()]) -> Any:
    return {"saw": value.tenant}


class QueryModel(BaseModel):
    page: int = 1
    tags: list[str] = []


class OpenQueryModel(BaseModel):
    model_config = ConfigDict(extra="allow")


class HeaderModel(BaseModel):
    x_tenant: str = "none"


class CookieModel(BaseModel):
    theme: str = "none"


async def by_query_model(model: Annotated[QueryModel, Query()]) -> Any:
    return model.model_dump()


async def by_open_query_model(model: Annotated[OpenQueryModel, Query()]) -> Any:
    return model.model_dump()


async def by_header_model(model: Annotated[HeaderModel, Header()]) -> Any:
    return model.model_dump()


async def by_cookie_model(model: Annotated[CookieModel, Cookie()]) -> Any:
    return model.model_dump()


class OpenCookieModel(BaseModel):
    model_config = ConfigDict(extra="allow")


class OpenHeaderModel(BaseModel):
    model_config = ConfigDict(extra="allow")
    x_tenant: str = "none"


async def by_open_header_model(model: Annotated[OpenHeaderModel, Header()]) -> Any:
    return model.model_dump()


async def by_open_cookie_model(model: Annotated[OpenCookieModel, Cookie()]) -> Any:
    return model.model_dump()


async def by_alias(value: Annotated[str, Query(alias="the-value")] = "none") -> Any:
    return {"saw": value}


async def by_header_alias(value: Annotated[str, Header(alias="X-Odd_Name")] = "none") -> Any:
    return {"saw": value}


def headers(name: str, *values: str) -> dict[str, Any]:
    return {"headers": [(name, value) for value in values]}


SELECTED: dict[str, tuple[Callable[..., Any], dict[str, Any], dict[str, Any]]] = {
    "query": (by_query, {"params": {"q": "a"}}, {"params": {"q": "b"}}),
    "absent query": (by_query, {}, {"params": {"q": "b"}}),
    "query list": (by_query_list, {"params": {"q": ["a", "b"]}}, {"params": {"q": ["b", "a"]}}),
    "joined query list": (by_query_list, {"params": {"q": ["a", "b"]}}, {"params": {"q": "a,b"}}),
    "query alias": (by_alias, {"params": {"the-value": "a"}}, {"params": {"the-value": "b"}}),
    "header": (by_header, headers("accept-language", "de"), headers("accept-language", "fr")),
    "header alias": (by_header_alias, headers("x-odd_name", "de"), headers("x-odd_name", "fr")),
    "header lines": (by_header_list, headers("x-tag", "a", "b"), headers("x-tag", "b", "a")),
    "cookie": (by_cookie, headers("cookie", "theme=dark"), headers("cookie", "theme=light")),
    "dependency's query": (by_dependency_query, {"params": {"q": "a"}}, {"params": {"q": "b"}}),
    "dependency's header": (
        by_dependency_header,
        headers("x-tenant", "a"),
        headers("x-tenant", "b"),
    ),
    "dependency's cookie": (
        by_dependency_cookie,
        headers("cookie", "theme=dark"),
        headers("cookie", "theme=light"),
    ),
    "nested dependency": (by_nested_dependency, headers("x-tenant", "a"), headers("x-tenant", "b")),
    "class dependency": (by_class_dependency, headers("x-tenant", "a"), headers("x-tenant", "b")),
    "query model": (by_query_model, {"params": {"page": 1}}, {"params": {"page": 2}}),
    "list in query model": (
        by_query_model,
        {"params": {"tags": ["a", "b"]}},
        {"params": {"tags": ["b", "a"]}},
    ),
    "open query model": (by_open_query_model, {"params": {"any": "a"}}, {"params": {"any": "b"}}),
    "header model": (by_header_model, headers("x-tenant", "a"), headers("x-tenant", "b")),
    "cookie model": (
        by_cookie_model,
        headers("cookie", "theme=dark"),
        headers("cookie", "theme=light"),
    ),
    "open header model": (by_open_header_model, headers("x-any", "a"), headers("x-any", "b")),
    "open cookie model": (
        by_open_cookie_model,
        headers("cookie", "any=a"),
        headers("cookie", "any=b"),
    ),
}

each_selector = pytest.mark.parametrize(
    ("endpoint", "one", "other"), SELECTED.values(), ids=SELECTED.keys()
)


@both_doors
@each_selector
def test_values_of_parameters_select_the_entry(
    door: Door, endpoint: Callable[..., Any], one: dict[str, Any], other: dict[str, Any]
) -> None:
    with serving(app_with(door, endpoint)) as client:
        first, second = client.get("/x", **one), client.get("/x", **other)
        assert state_of(second) == "MISS"
        assert first.json() != second.json()
        assert state_of(client.get("/x", **one)) == "HIT"
        assert client.get("/x", **one).json() == first.json()
        assert client.get("/x", **other).json() == second.json()


@both_doors
@each_selector
@pytest.mark.usefixtures("without_selectors")
def test_control_without_selectors_in_the_key_the_wrong_body_is_served(
    door: Door, endpoint: Callable[..., Any], one: dict[str, Any], other: dict[str, Any]
) -> None:
    with serving(app_with(door, endpoint)) as client:
        first = client.get("/x", **one).json()
        assert client.get("/x", **other).json() == first


@both_doors
def test_german_is_not_served_to_a_french_reader(door: Door) -> None:
    german, french = headers("accept-language", "de"), headers("accept-language", "fr")
    assert bodies(app_with(door, by_header), german, french) == [{"saw": "de"}, {"saw": "fr"}]


@both_doors
@pytest.mark.parametrize(
    ("endpoint", "announced"),
    [
        (by_header, "accept-language"),
        (by_header_alias, "x-odd_name"),
        (by_nested_dependency, "x-tenant"),
        (by_cookie, "cookie"),
        (by_open_header_model, "*"),
    ],
    ids=["own header", "alias", "dependency's header", "cookie", "open model"],
)
def test_selecting_headers_are_announced_in_vary(
    door: Door, endpoint: Callable[..., Any], announced: str
) -> None:
    with serving(app_with(door, endpoint)) as client:
        miss, hit = client.get("/x"), client.get("/x")
        assert (state_of(miss), state_of(hit)) == ("MISS", "HIT")
        assert miss.headers["vary"] == hit.headers["vary"] == announced


@both_doors
def test_no_vary_where_no_header_is_read(door: Door) -> None:
    with serving(app_with(door, by_query)) as client:
        assert "vary" not in client.get("/x").headers


@both_doors
def test_a_slash_and_a_colon_are_two_paths(door: Door) -> None:
    app = new_app()

    @door.get(app, "/{rest:path}")
    async def any_path(rest: str) -> Any:
        return {"path": rest}

    found = bodies(app, {"path": "/a/b"}, {"path": "/a:b"}, {"path": "/a%2Fb"}, {"path": "/a%3Ab"})
    assert [body["path"] for body in found] == ["a/b", "a:b", "a/b", "a:b"]


@both_doors
def test_a_query_and_a_colon_are_two_requests(door: Door) -> None:
    app = new_app()

    @door.get(app, "/{rest:path}")
    async def any_path(rest: str, b: str = "none") -> Any:
        return {"path": rest, "b": b}

    asked = ("/a?b=1", "/a:b=1", "/a%3Fb=1", "/a?b=1%26c", "/a?b=1&c")
    found = bodies(app, *({"path": path} for path in asked))
    assert [(body["path"], body["b"]) for body in found] == [
        ("a", "1"),
        ("a:b=1", "none"),
        ("a?b=1", "none"),
        ("a", "1&c"),
        ("a", "1"),
    ]


@both_doors
def test_an_absent_value_is_not_its_text(door: Door) -> None:
    async def by_optional(q: str | None = None) -> Any:
        return {"type": type(q).__name__}

    asked: list[dict[str, Any]] = [
        {"params": {"q": "None"}},
        {},
        {"params": {"q": ""}},
        {"params": {"q": "str:"}},
    ]
    found = bodies(app_with(door, by_optional), *asked)
    assert [body["type"] for body in found] == ["str", "NoneType", "str", "str"]


@both_doors
def test_secrets_in_the_path_select_the_entry(door: Door) -> None:
    app = new_app()

    @door.get(app, "/links/{token}")
    async def link(token: SecretStr) -> Any:
        return {"token": token.get_secret_value()}

    found = bodies(app, {"path": "/links/a"}, {"path": "/links/b"}, {"path": "/links/a"})
    assert [body["token"] for body in found] == ["a", "b", "a"]


def test_a_path_parameter_of_the_host_selects_the_entry() -> None:
    tenants, app = FastAPI(), new_app()
    router = MARKER.router()

    @MARKER.get(router, "/x")
    async def by_tenant(tenant: Annotated[str, Path()]) -> Any:
        return {"tenant": tenant}

    tenants.include_router(router)
    app.router.routes.append(Host("{tenant}.example", tenants))
    asked = [{"headers": {"host": f"{one}.example"}} for one in ("a", "b", "a", "b")]
    assert [body["tenant"] for body in bodies(app, *asked)] == ["a", "b", "a", "b"]


class Rights(Flag):
    READ = 1
    WRITE = 2
    OWN = 4


@both_doors
def test_combined_flags_select_the_entry(door: Door) -> None:
    async def by_rights(rights: Rights = Rights.READ) -> Any:
        return {"rights": rights.value}

    def parse(value: str) -> Rights:
        return Rights(int(value))

    by_rights.__annotations__["rights"] = Annotated[Rights, BeforeValidator(parse)]
    found = bodies(app_with(door, by_rights), {"params": {"rights": 3}}, {"params": {"rights": 5}})
    assert [body["rights"] for body in found] == [3, 5]


# -- what is not in the key


@both_doors
def test_undeclared_query_parameters_share_the_entry(door: Door) -> None:
    with serving(app_with(door, by_query)) as client:
        client.get("/x?q=a")
        assert state_of(client.get("/x?utm_source=mail&q=a")) == "HIT"
        assert state_of(client.get("/x?q=a&cachebuster=1")) == "HIT"


@both_doors
def test_undeclared_query_parameters_select_where_the_endpoint_takes_the_request(
    door: Door,
) -> None:
    async def whole(request: Request) -> Any:
        return {"query": str(request.query_params)}

    found = bodies(
        app_with(door, whole),
        *({"params": params} for params in ({"a": "1"}, {"a": "2"}, {"a": ["1", "2"]})),
        {"params": {"a": ["2", "1"]}},
    )
    assert [body["query"] for body in found] == ["a=1", "a=2", "a=1&a=2", "a=2&a=1"]


@both_doors
@pytest.mark.usefixtures("without_selectors")
def test_control_without_the_query_in_the_key_an_endpoint_with_the_request_is_wrong(
    door: Door,
) -> None:
    async def whole(request: Request) -> Any:
        return {"query": str(request.query_params)}

    found = bodies(app_with(door, whole), {"params": {"a": "1"}}, {"params": {"a": "2"}})
    assert found[0] == found[1]


@both_doors
def test_undeclared_query_parameters_select_where_a_received_dependency_takes_the_request(
    door: Door,
) -> None:
    async def query_of(request: Request) -> str:
        return str(request.query_params)

    async def through(query: Annotated[str, Depends(query_of)]) -> Any:
        return {"query": query}

    found = bodies(app_with(door, through), {"params": {"a": "1"}}, {"params": {"a": "2"}})
    assert found[0] != found[1]


@both_doors
def test_injected_objects_do_not_select(door: Door) -> None:
    class Session:
        pass

    async def injected(
        session: Annotated[Session, Depends(lambda: Session())],
        response: Response,
        tasks: BackgroundTasks,
        client: AsyncRedisDep,
        backend: CacheBackendDep,
    ) -> Any:
        return {"at": id(session)}

    with serving(app_with(door, injected)) as client:
        first = client.get("/x").json()
        again = client.get("/x")
        assert (state_of(again), again.json()) == ("HIT", first)


async def guard_by_header(x_tenant: Annotated[str, Header()] = "none") -> None:
    if x_tenant == "banned":
        raise HTTPException(403)


async def guard_by_cookie(session: Annotated[str, Cookie()] = "none") -> None:
    if session == "banned":
        raise HTTPException(403)


async def guard_by_query(token: str = "none") -> None:
    if token == "banned":
        raise HTTPException(403)


async def plain() -> Any:
    return {"plain": True}


@both_doors
@pytest.mark.parametrize(
    ("guard", "one", "other", "banned"),
    [
        (
            guard_by_header,
            headers("x-tenant", "a"),
            headers("x-tenant", "b"),
            headers("x-tenant", "banned"),
        ),
        (guard_by_cookie, headers("cookie", "session=a"), {}, headers("cookie", "session=banned")),
        (guard_by_query, {"params": {"token": "a"}}, {}, {"params": {"token": "banned"}}),
    ],
    ids=["header", "cookie", "query"],
)
def test_guards_gate_and_do_not_select(
    door: Door,
    guard: Callable[..., Any],
    one: dict[str, Any],
    other: dict[str, Any],
    banned: dict[str, Any],
) -> None:
    with serving(app_with(door, plain, dependencies=(Depends(guard),))) as client:
        assert state_of(client.get("/x", **one)) == "MISS"
        assert state_of(client.get("/x", **other)) == "HIT"
        assert client.get("/x", **banned).status_code == 403


# -- vary and shared


class User(BaseModel):
    id: int
    name: str


USERS = {"alice": User(id=1, name="alice"), "bob": User(id=2, name="bob")}
bearer = HTTPBearer(auto_error=False)


async def signed_in(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> User:
    user = USERS.get(credentials.credentials) if credentials else None
    if user is None:
        raise HTTPException(401)
    return user


CurrentUser = Annotated[User, Depends(signed_in)]


def as_user(name: str) -> dict[str, Any]:
    return headers("authorization", f"Bearer {name}")


async def basket(user: CurrentUser) -> Any:
    return {"basket": user.name}


@both_doors
def test_vary_selects_by_the_value_that_the_author_names(door: Door) -> None:
    app = app_with(door, basket, vary="user.id")
    found = bodies(app, as_user("alice"), as_user("bob"), as_user("alice"))
    assert [body["basket"] for body in found] == ["alice", "bob", "alice"]


@both_doors
@pytest.mark.usefixtures("without_selectors")
def test_control_without_vary_in_the_key_a_user_reads_the_basket_of_another(door: Door) -> None:
    found = bodies(app_with(door, basket, vary="user.id"), as_user("alice"), as_user("bob"))
    assert [body["basket"] for body in found] == ["alice", "alice"]


@both_doors
def test_vary_replaces_what_the_dependencies_read(door: Door) -> None:
    async def trace(x_trace: Annotated[str, Header()] = "none") -> str:
        return x_trace

    async def traced(user: CurrentUser, trace: Annotated[str, Depends(trace)]) -> Any:
        return {"basket": user.name}

    with serving(app_with(door, traced, vary="user.id")) as client:
        for number in range(3):
            sent = {"authorization": "Bearer alice", "x-trace": str(number)}
            assert state_of(client.get("/x", headers=sent)) == ("HIT" if number else "MISS")


@both_doors
def test_vary_makes_the_response_private(door: Door) -> None:
    async def by_lang(lang: str = "de") -> Any:
        return {"lang": lang}

    with serving(app_with(door, by_lang, vary="lang")) as client:
        assert "private" in directives_of(client.get("/x"))
        assert "private" in directives_of(client.get("/x"))


@both_doors
def test_a_vary_value_without_a_string_form_is_not_cached(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    async def basket_of(user: Annotated[Any, Depends(signed_in)]) -> Any:
        return {"basket": user.name}

    with serving(app_with(door, basket_of, vary="user")) as client:
        assert client.get("/x", **as_user("alice")).json() == {"basket": "alice"}
        second = client.get("/x", **as_user("alice"))
    assert state_of(second) == "BYPASS"
    said = next(message for message in warnings_of(caplog) if "no key for a request" in message)
    assert "vary='user' is a User" in said
    assert "'user.id'" in said


@both_doors
def test_shared_is_one_entry_for_everyone_let_in(door: Door) -> None:
    async def catalogue(user: CurrentUser) -> Any:
        return {"made for": "everyone"}

    with serving(app_with(door, catalogue, shared=True)) as client:
        assert state_of(client.get("/x", **as_user("alice"))) == "MISS"
        shared = client.get("/x", **as_user("bob"))
        assert state_of(shared) == "HIT"
        assert "private" in directives_of(shared)
        assert client.get("/x").status_code == 401


# -- secured endpoints


def test_an_undeclared_secured_endpoint_is_refused_with_the_line_to_write() -> None:
    with pytest.raises(CacheDeclarationError) as refused:
        app_with(MARKER, basket)
    message = str(refused.value)
    assert refused.value.code == "redis-cache-secured"
    assert "GET /x (basket)" in message
    assert 'vary="user.id"' in message.replace("'", '"')
    assert "shared=True" in message


def test_a_scheme_below_a_dependency_is_found() -> None:
    async def outer(user: CurrentUser) -> str:
        return user.name

    async def nested(name: Annotated[str, Depends(outer)]) -> Any:
        return {"name": name}

    with pytest.raises(CacheDeclarationError, match="redis-cache-secured"):
        app_with(MARKER, nested)


def test_a_security_dependency_with_scopes_is_found() -> None:
    async def scoped(user: Annotated[User, Security(signed_in, scopes=["read"])]) -> Any:
        return {"name": user.name}

    with pytest.raises(CacheDeclarationError, match="redis-cache-secured"):
        app_with(MARKER, scoped)


def test_an_endpoint_behind_a_security_guard_is_not_refused() -> None:
    with serving(app_with(MARKER, plain, dependencies=(Depends(signed_in),))) as client:
        assert state_of(client.get("/x", **as_user("alice"))) == "MISS"
        assert state_of(client.get("/x", **as_user("bob"))) == "HIT"


@pytest.mark.parametrize("door", [DEPENDENCY, MARKER], ids=lambda door: door.name)
def test_a_secured_endpoint_that_is_not_shared_is_keyed_by_credentials(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    said = {} if door is DEPENDENCY else {"shared": False}
    with serving(app_with(door, basket, **said)) as client:
        alice = client.get("/x", **as_user("alice"))
        bob = client.get("/x", **as_user("bob"))
        assert (alice.json(), bob.json()) == ({"basket": "alice"}, {"basket": "bob"})
        assert state_of(client.get("/x", **as_user("alice"))) == "HIT"
        assert "private" in directives_of(bob)
        assert bob.headers["vary"] == "authorization"
    named = [message for message in warnings_of(caplog) if "security scheme" in message]
    assert len(named) == (1 if door is DEPENDENCY else 0)
    assert all("GET /x (basket)" in message for message in named)


@pytest.mark.usefixtures("without_selectors")
def test_control_without_credentials_in_the_key_a_user_reads_the_basket_of_another() -> None:
    found = bodies(app_with(DEPENDENCY, basket), as_user("alice"), as_user("bob"))
    assert found == [{"basket": "alice"}, {"basket": "alice"}]


SCHEMES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "api key header": (
        APIKeyHeader(name="X-Key"),
        headers("x-key", "alice"),
        headers("x-key", "bob"),
    ),
    "api key query": (
        APIKeyQuery(name="key"),
        {"params": {"key": "alice"}},
        {"params": {"key": "bob"}},
    ),
    "api key cookie": (
        APIKeyCookie(name="key"),
        headers("cookie", "key=alice"),
        headers("cookie", "key=bob"),
    ),
    "oauth2": (OAuth2PasswordBearer(tokenUrl="token"), as_user("alice"), as_user("bob")),
}


@pytest.mark.parametrize(("scheme", "one", "other"), SCHEMES.values(), ids=SCHEMES.keys())
def test_every_known_scheme_keys_by_what_it_reads(
    scheme: Any, one: dict[str, Any], other: dict[str, Any]
) -> None:
    async def who(key: Annotated[str, Depends(scheme)]) -> Any:
        return {"key": key}

    with serving(app_with(DEPENDENCY, who)) as client:
        first, second = client.get("/x", **one), client.get("/x", **other)
        assert first.json() != second.json()
        assert "private" in directives_of(first)
        assert state_of(client.get("/x", **one)) == "HIT"


class TicketScheme(SecurityBase):
    """Reads its credentials from an unknown place."""

    def __init__(self) -> None:
        self.model = APIKeyHeader(name="x-ticket").model
        self.scheme_name = "ticket"

    async def __call__(self, request: Request) -> str:
        return request.headers.get("x-secret-ticket", "none")


class OddBearer(HTTPBearer):
    async def __call__(self, request: HTTPConnection) -> Any:
        return request.headers.get("x-secret-ticket", "none")


@pytest.mark.parametrize("scheme", [TicketScheme(), OddBearer()], ids=["own", "subclass"])
@pytest.mark.parametrize("door", [DEPENDENCY, MARKER], ids=lambda door: door.name)
async def test_behind_an_unknown_scheme_nothing_is_stored(
    door: Door, scheme: Any, fake_client: Redis
) -> None:
    async def who(ticket: Annotated[str, Depends(scheme)]) -> Any:
        return {"ticket": ticket}

    app = app_with(door, who, **({} if door is DEPENDENCY else {"shared": False}))
    share_client(app, fake_client)
    async with calling(app) as client:
        for name in ("alice", "bob"):
            answer = await client.get("/x", headers={"x-secret-ticket": name})
            assert answer.json() == {"ticket": name}
            assert state_of(answer) == "BYPASS"
    assert await keys_of(fake_client, "e:") == []


# -- opaque readers


async def whole_request(request: Request) -> Any:
    return {"agent": request.headers.get("user-agent")}


async def agent_of(request: Request) -> str:
    return request.headers.get("user-agent", "")


async def by_agent(agent: Annotated[str, Depends(agent_of)]) -> Any:
    return {"agent": agent}


@both_doors
@pytest.mark.parametrize(
    ("endpoint", "who"),
    [(whole_request, "whole_request"), (by_agent, "agent_of")],
    ids=["endpoint", "dependency"],
)
def test_a_reader_of_the_whole_request_is_named_at_start_up(
    door: Door, endpoint: Callable[..., Any], who: str, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(app_with(door, endpoint)):
        pass
    (message,) = warnings_of(caplog)
    assert who in message
    assert "vary=" in message
    assert "shared=True" in message


@both_doors
@pytest.mark.parametrize("endpoint", [whole_request, by_agent], ids=["endpoint", "dependency"])
def test_a_reader_of_the_whole_request_is_an_error_when_strict(
    door: Door, endpoint: Callable[..., Any]
) -> None:
    app = new_app(using=settings(strict=True))
    door.get(app, "/x")(endpoint)
    with pytest.raises(CacheDeclarationError, match="whole Request"):
        start_up(app)


@both_doors
@pytest.mark.parametrize("said", [{"shared": True}, {"vary": "lang"}], ids=["shared", "vary"])
def test_an_endpoint_with_the_whole_request_and_vary_is_accepted(
    door: Door, said: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def spoken_for(request: Request, lang: str = "de") -> Any:
        return {"lang": lang}

    app = new_app(using=settings(strict=True))
    door.get(app, "/x", **said)(spoken_for)
    with serving(app):
        assert warnings_of(caplog) == []


@both_doors
def test_our_own_dependencies_are_not_opaque(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    async def ours(client: AsyncRedisDep, backend: CacheBackendDep) -> Any:
        return {}

    app = new_app(using=settings(strict=True))
    door.get(app, "/x")(ours)
    with serving(app):
        assert warnings_of(caplog) == []


@both_doors
def test_a_guard_that_takes_the_request_is_not_opaque(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    async def guard(request: Request) -> None:
        return None

    app = new_app(using=settings(strict=True))
    door.get(app, "/x", dependencies=(Depends(guard),))(plain)
    with serving(app):
        assert warnings_of(caplog) == []


async def state_by_header(
    request: Request, key: Annotated[str | None, Depends(APIKeyHeader(name="X-Key"))]
) -> None:
    request.state.user = key


async def state_by_cookie(request: Request, user: Annotated[str, Cookie()] = "") -> None:
    request.state.user = user


async def from_state(request: Request) -> Any:
    return {"user": request.state.user}


async def user_of(request: Request) -> str:
    return str(request.state.user)


async def by_user_of_state(user: Annotated[str, Depends(user_of)]) -> Any:
    return {"user": user}


@both_doors
@pytest.mark.parametrize("endpoint", [from_state, by_user_of_state], ids=["own", "received"])
@pytest.mark.parametrize(
    ("guard", "alice", "bob"),
    [
        (state_by_header, headers("x-key", "alice"), headers("x-key", "bob")),
        (state_by_cookie, headers("cookie", "user=alice"), headers("cookie", "user=bob")),
    ],
    ids=["header", "cookie"],
)
def test_inputs_of_a_guard_select_where_the_whole_request_is_taken(
    door: Door, endpoint: Any, guard: Any, alice: dict[str, Any], bob: dict[str, Any]
) -> None:
    app = new_app()
    door.get(app, "/x", dependencies=(Depends(guard),))(endpoint)
    found = bodies(app, alice, bob, alice)
    assert [body["user"] for body in found] == ["alice", "bob", "alice"]


@both_doors
def test_behind_an_unknown_scheme_an_endpoint_with_the_whole_request_is_not_cached(
    door: Door,
) -> None:
    class OwnScheme(APIKeyHeader):
        async def __call__(self, request: HTTPConnection) -> str | None:
            request.state.user = request.headers["x-any"]
            return None

    app = new_app()
    door.get(app, "/x", dependencies=(Depends(OwnScheme(name="x-key")),))(from_state)
    found = bodies(app, headers("x-any", "alice"), headers("x-any", "bob"))
    assert [body["user"] for body in found] == ["alice", "bob"]


# -- private behind guards


async def guard_by_authorization(authorization: Annotated[str, Header()] = "") -> None:
    return None


GUARDS = {
    "security scheme": bearer,
    "nested security scheme": signed_in,
    "authorization header": guard_by_authorization,
    "cookie": guard_by_cookie,
}


@both_doors
@pytest.mark.parametrize("place", ["route", "router", "include", "app"])
@pytest.mark.parametrize("guard", GUARDS.values(), ids=GUARDS.keys())
def test_behind_a_guard_the_response_is_private(door: Door, guard: Any, place: str) -> None:
    guards = [Depends(guard)]
    app = new_app(dependencies=guards if place == "app" else None)
    router = door.router(dependencies=guards if place == "router" else None)
    door.get(router, "/x", dependencies=tuple(guards) if place == "route" else ())(plain)
    app.include_router(router, dependencies=guards if place == "include" else None)
    with serving(app) as client:
        miss, hit = client.get("/x", **as_user("alice")), client.get("/x", **as_user("alice"))
    assert (state_of(miss), state_of(hit)) == ("MISS", "HIT")
    assert "private" in directives_of(miss)
    assert "private" in directives_of(hit)


@both_doors
def test_without_a_guard_the_response_is_not_private(door: Door) -> None:
    with serving(app_with(door, plain)) as client:
        assert directives_of(client.get("/x")) == {"max-age=60"}
        assert directives_of(client.get("/x")) == {"max-age=60"}


@both_doors
@pytest.mark.parametrize("endpoint", [by_cookie, by_open_cookie_model, by_open_header_model])
def test_an_endpoint_that_reads_a_cookie_is_private(
    door: Door, endpoint: Callable[..., Any]
) -> None:
    with serving(app_with(door, endpoint)) as client:
        assert "private" in directives_of(client.get("/x"))


# -- before a hit


@both_doors
@pytest.mark.parametrize("place", ["route", "router", "include", "app"])
def test_without_credentials_a_cached_entry_is_refused(door: Door, place: str) -> None:
    guards = [Depends(signed_in)]
    app = new_app(dependencies=guards if place == "app" else None)
    router = door.router(dependencies=guards if place == "router" else None)
    door.get(router, "/x", dependencies=tuple(guards) if place == "route" else ())(plain)
    app.include_router(router, dependencies=guards if place == "include" else None)
    with serving(app) as client:
        client.get("/x", **as_user("alice"))
        assert state_of(client.get("/x", **as_user("bob"))) == "HIT"
        stranger = client.get("/x")
        assert (stranger.status_code, "plain" in stranger.text) == (401, False)


@both_doors
def test_a_guard_that_admits_a_request_lets_it_have_the_entry(door: Door) -> None:
    app = app_with(door, plain, dependencies=(Depends(signed_in),))
    with serving(app) as client:
        client.get("/x", **as_user("alice"))
        app.dependency_overrides[signed_in] = lambda: USERS["bob"]
        stranger = client.get("/x")
        assert (state_of(stranger), stranger.json()) == ("HIT", {"plain": True})


@both_doors
def test_an_etag_without_credentials_gets_no_304(door: Door) -> None:
    with serving(app_with(door, plain, dependencies=(Depends(signed_in),))) as client:
        etag = client.get("/x", **as_user("alice")).headers["etag"]
        assert client.get("/x", headers={"if-none-match": etag}).status_code == 401


@both_doors
def test_validation_runs_before_a_hit(door: Door) -> None:
    async def limited(
        q: Annotated[int, Query(le=10)] = 1, x_must: Annotated[str, Header()] = ""
    ) -> Any:
        return {"q": q}

    async def guard(size: Annotated[int, Query(le=10)] = 1) -> None:
        return None

    app = app_with(door, limited, dependencies=(Depends(guard),))
    with serving(app) as client:
        assert client.get("/x?q=1").status_code == 200
        assert client.get("/x?q=11").status_code == 422
        assert client.get("/x?q=1&size=11").status_code == 422
        assert state_of(client.get("/x?q=1&size=2")) == "HIT"


@both_doors
def test_every_dependency_runs_before_a_hit(door: Door) -> None:
    runs = Runs()

    async def received() -> int:
        return runs.note("received")

    async def nested(_: Annotated[int, Depends(received)]) -> None:
        runs.note("nested")

    def plain_guard() -> None:
        runs.note("guard")

    async def endpoint(value: Annotated[int, Depends(received)]) -> Any:
        runs.note("endpoint")
        return {}

    app = app_with(door, endpoint, dependencies=(Depends(nested), Depends(plain_guard)))
    with serving(app) as client:
        client.get("/x")
        assert sorted(runs.names) == ["endpoint", "guard", "nested", "received"]
        runs.names.clear()
        assert state_of(client.get("/x")) == "HIT"
    assert sorted(runs.names) == ["guard", "nested", "received"]


@both_doors
def test_a_dependency_cleans_up_after_a_hit(door: Door) -> None:
    runs = Runs()

    async def session() -> Any:
        runs.note("open")
        yield None
        runs.note("close")

    async def endpoint(value: Annotated[None, Depends(session)]) -> Any:
        return {}

    with serving(app_with(door, endpoint)) as client:
        client.get("/x")
        assert state_of(client.get("/x")) == "HIT"
    assert runs.names == ["open", "close"] * 2


@both_doors
def test_headers_of_dependencies_are_those_of_this_request(door: Door) -> None:
    async def greet(response: Response, x_name: Annotated[str, Header()] = "") -> None:
        response.headers["x-greeting"] = x_name
        response.set_cookie("seen", x_name)

    app = app_with(door, plain, dependencies=(Depends(greet),))
    with serving(app) as client:
        for name, state in (("alice", "MISS"), ("bob", "HIT")):
            answer = client.get("/x", headers={"x-name": name})
            assert state_of(answer) == state
            assert answer.headers.get_list("x-greeting") == [name]
            assert [line.partition(";")[0] for line in answer.headers.get_list("set-cookie")] == [
                f"seen={name}"
            ]


# -- what a client can do to the store


@both_doors
@pytest.mark.parametrize("directive", ["no-cache", "max-age=0", "no-store"])
def test_directives_of_a_client_are_obeyed_by_default(door: Door, directive: str) -> None:
    runs = Runs()

    async def counted() -> Any:
        return {"run": runs.note()}

    with serving(app_with(door, counted)) as client:
        client.get("/x")
        client.get("/x", headers={"cache-control": directive})
    assert len(runs) == 2


@both_doors
@pytest.mark.parametrize("directive", ["no-cache", "max-age=0", "no-store", "only-if-cached"])
def test_request_directives_are_ignored_if_the_settings_disable_them(
    door: Door, directive: str
) -> None:
    app = new_app(using=settings(obey_client_directives=False))
    door.get(app, "/x")(plain)
    with serving(app) as client:
        sent = {"cache-control": directive}
        assert state_of(client.get("/x", headers=sent)) == "MISS"
        assert state_of(client.get("/x", headers=sent)) == "HIT"


@both_doors
async def test_no_client_supplied_value_appears_in_a_key(door: Door, fake_client: Redis) -> None:
    app = app_with(door, by_header)
    share_client(app, fake_client)
    async with calling(app) as client:
        await client.get("/x", headers={"accept-language": "needle" * 1_000})
    keys = await keys_of(fake_client)
    assert keys
    assert not any(b"needle" in key or len(key) > 200 for key in keys)


@both_doors
@pytest.mark.parametrize(
    ("limits", "state"),
    [({"max_body_size": 100}, "MISS"), ({"max_body_size": 10_000}, "HIT")],
    ids=["over", "under"],
)
def test_a_body_over_the_limit_is_not_stored(
    door: Door, limits: dict[str, int], state: str
) -> None:
    async def long() -> Any:
        return {"text": "x" * 500}

    app = new_app(using=settings(**limits))
    door.get(app, "/x")(long)
    with serving(app) as client:
        first = client.get("/x")
        second = client.get("/x")
    assert first.content == second.content
    assert (state_of(second) == "HIT") == (state == "HIT")


@both_doors
@pytest.mark.parametrize("limit", [100, 10_000])
def test_headers_over_the_limit_are_not_stored(door: Door, limit: int) -> None:
    async def long(response: Response) -> Any:
        response.headers["x-long"] = "x" * 500
        return {}

    app = new_app(using=settings(max_header_size=limit))
    door.get(app, "/x")(long)
    with serving(app) as client:
        client.get("/x")
        second = client.get("/x")
    assert second.headers["x-long"] == "x" * 500
    assert (state_of(second) == "HIT") == (limit == 10_000)


# -- what a response says of itself


def answering(control: str | None = None, **fields: str) -> Callable[..., Any]:
    runs = Runs()

    async def says(response: Response) -> Any:
        for name, value in fields.items():
            response.headers[name.replace("_", "-")] = value
        if control is not None:
            response.headers["cache-control"] = control
        return {"run": runs.note()}

    return says


@both_doors
@pytest.mark.parametrize(
    "control", ["no-store", "private", "No-Store, max-age=60", "max-age=0", "no-cache"]
)
def test_a_response_that_forbids_storing_is_not_stored(door: Door, control: str) -> None:
    found = bodies(app_with(door, answering(control)), {}, {})
    assert found == [{"run": 1}, {"run": 2}]


@both_doors
@pytest.mark.parametrize("control", ["no-store", "private"])
def test_control_without_the_storage_rules_a_no_store_response_is_replayed(
    door: Door, control: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_http, "storage_refusal", lambda *_, **__: None)
    found = bodies(app_with(door, answering(control)), {}, {})
    assert found == [{"run": 1}, {"run": 1}]


@both_doors
def test_a_response_that_allows_storing_is_stored(door: Door) -> None:
    found = bodies(app_with(door, answering("public, max-age=60")), {}, {})
    assert found == [{"run": 1}, {"run": 1}]


@both_doors
def test_a_private_response_is_stored_for_its_own_user(door: Door) -> None:
    runs = Runs()

    async def own(user: CurrentUser, response: Response) -> Any:
        response.headers["cache-control"] = "private"
        return {"user": user.name, "run": runs.note()}

    found = bodies(
        app_with(door, own, vary="user.id"), as_user("alice"), as_user("bob"), as_user("alice")
    )
    assert [body["run"] for body in found] == [1, 2, 1]


@both_doors
@pytest.mark.parametrize("control", ["no-store", "private"])
def test_a_response_that_a_dependency_marks_no_store_is_not_stored(
    door: Door, control: str
) -> None:
    runs = Runs()

    async def forbid(response: Response) -> None:
        response.headers["cache-control"] = control

    async def endpoint() -> Any:
        return {"run": runs.note()}

    found = bodies(app_with(door, endpoint, dependencies=(Depends(forbid),)), {}, {})
    assert found == [{"run": 1}, {"run": 2}]


@both_doors
@pytest.mark.parametrize("by", ["endpoint", "dependency"])
def test_a_response_with_vary_is_not_served_to_other_header_values(door: Door, by: str) -> None:
    async def announce(response: Response) -> None:
        response.headers["vary"] = "Accept-Language"

    async def greet(request: Request, response: Response) -> Any:
        if by == "endpoint":
            response.headers["vary"] = "Accept-Language"
        return {"language": request.headers["accept-language"]}

    guards = (Depends(announce),) if by == "dependency" else ()
    app = app_with(door, greet, dependencies=guards)
    found = bodies(app, headers("accept-language", "de"), headers("accept-language", "fr"))
    assert [body["language"] for body in found] == ["de", "fr"]


@both_doors
def test_a_response_with_vary_star_is_not_stored(door: Door) -> None:
    found = bodies(app_with(door, answering(vary="*")), {}, {})
    assert found == [{"run": 1}, {"run": 2}]


@both_doors
async def test_set_cookie_is_never_stored(door: Door, fake_client: Redis) -> None:
    async def login(response: Response) -> Any:
        response.set_cookie("session", "secret-of-the-first")
        return {}

    app = app_with(door, login)
    share_client(app, fake_client)
    async with calling(app) as client:
        first = await client.get("/x")
        assert "secret-of-the-first" in first.headers["set-cookie"]
        client.cookies.clear()
        second = await client.get("/x")
    assert state_of(second) == "HIT"
    assert "set-cookie" not in second.headers
    for key in await keys_of(fake_client, "e:"):
        assert b"secret-of-the-first" not in (await fake_client.get(key) or b"")


def hit_after_a_cookie(door: Door) -> Any:
    """A hit on an entry whose miss set a cookie."""

    async def login() -> Any:
        response = Response(b"{}", media_type="application/json")
        response.set_cookie("session", "secret")
        return response

    with serving(app_with(door, login, returns=Response)) as client:
        assert "set-cookie" in client.get("/x").headers
        client.cookies.clear()
        hit = client.get("/x")
    assert state_of(hit) == "HIT"
    return hit


@both_doors
def test_set_cookie_of_an_own_response_is_never_stored(door: Door) -> None:
    assert "set-cookie" not in hit_after_a_cookie(door).headers


@both_doors
def test_control_without_the_list_of_unstored_headers_a_cookie_is_shared(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storability, "_NEVER_STORED", frozenset({b"content-length"}))
    assert "secret" in hit_after_a_cookie(door).headers["set-cookie"]


@both_doors
@pytest.mark.parametrize("status", [301, 404, 500])
def test_an_error_is_not_stored(door: Door, status: int) -> None:
    runs = Runs()

    async def fails() -> Any:
        runs.note()
        raise HTTPException(status)

    with serving(app_with(door, fails)) as client:
        for _ in range(2):
            assert client.get("/x", follow_redirects=False).status_code == status
    assert len(runs) == 2


# -- deploys


class Old(BaseModel):
    name: str


class New(BaseModel):
    name: str
    price: int = 1


def deploy(door: Door, server: FakeServer, model: type[BaseModel]) -> FastAPI:
    app = new_app()

    @door.get(app, "/items/{item_id}", returns=model, group="items")
    async def item(item_id: int) -> Any:
        return {"name": model.__name__}

    app.add_api_route(
        "/items/{item_id}",
        evicting(CacheEvict(key="/items/{item_id}")),
        methods=["DELETE"],
    )
    app.add_api_route("/items", evicting(CacheEvict(group="items")), methods=["DELETE"])
    share_server(app, server)
    return app


def evicting(marker: CacheEvict) -> Callable[..., Any]:
    if marker.key is not None:

        async def evict_path(item_id: int) -> Any:
            return None

        evict_path.__annotations__["return"] = Annotated[None, marker]
        return evict_path

    async def evict_group() -> Any:
        return None

    evict_group.__annotations__["return"] = Annotated[None, marker]
    return evict_group


@both_doors
def test_a_changed_response_model_makes_old_entries_misses(door: Door) -> None:
    server = FakeServer()
    with serving(deploy(door, server, Old)) as old, serving(deploy(door, server, New)) as new:
        old.get("/items/1")
        assert state_of(old.get("/items/1")) == "HIT"
        fresh = new.get("/items/1")
        assert (state_of(fresh), fresh.json()) == ("MISS", {"name": "New", "price": 1})


@both_doors
def test_an_unchanged_response_model_keeps_the_entries_of_the_deploy_before(door: Door) -> None:
    server = FakeServer()
    with serving(deploy(door, server, Old)) as old, serving(deploy(door, server, Old)) as new:
        old.get("/items/1")
        assert state_of(new.get("/items/1")) == "HIT"


@both_doors
def test_control_without_the_fingerprint_the_old_shape_is_replayed(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReadPolicy, "shape", b"the same")
    server = FakeServer()
    with serving(deploy(door, server, Old)) as old, serving(deploy(door, server, New)) as new:
        old.get("/items/1")
        assert new.get("/items/1").json() == {"name": "Old"}


@both_doors
@pytest.mark.parametrize("path", ["/items/1", "/items"], ids=["by path", "by group"])
def test_an_eviction_by_an_old_deploy_reaches_the_entries_of_the_new_one(
    door: Door, path: str
) -> None:
    server = FakeServer()
    with serving(deploy(door, server, Old)) as old, serving(deploy(door, server, New)) as new:
        new.get("/items/1")
        assert state_of(new.get("/items/1")) == "HIT"
        assert old.delete(path).status_code == 200
        assert state_of(new.get("/items/1")) == "MISS"


class Row(BaseModel):
    id: int


class OtherRow(BaseModel):
    id: int
    extra: str = ""


def test_a_put_of_another_model_than_its_get_is_an_error_at_start_up() -> None:
    app = new_app()

    @app.get("/rows/{row_id}")
    async def row(row_id: int) -> Annotated[Row, Cached(60)]:
        return Row(id=row_id)

    @app.put("/rows/{row_id}")
    # the mistake: another model than that of the GET
    async def put_row(row_id: int) -> Annotated[OtherRow, CachePut(60)]:  # type: ignore[redis-cache-put]
        return OtherRow(id=row_id)

    with pytest.raises(CacheDeclarationError, match="different model") as refused:
        start_up(app)
    assert "put_row" in str(refused.value)


def test_a_put_without_a_get_is_an_error_at_start_up() -> None:
    app = new_app()

    @app.put("/rows/{row_id}")
    async def put_row(row_id: int) -> Annotated[Row, CachePut(60)]:
        return Row(id=row_id)

    with pytest.raises(CacheDeclarationError, match="no cached GET"):
        start_up(app)


def test_a_put_by_dependency_that_cannot_write_evicts_and_is_named_at_start_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_app()
    texts = {1: "old"}

    @app.get("/rows/{row_id}", dependencies=[Depends(cache(60))])
    async def row(row_id: int) -> Body:
        return {"text": texts[row_id]}

    @app.put("/rows/{row_id}", dependencies=[Depends(cache_put(60))])
    async def put_row(row_id: int) -> Row:
        texts[row_id] = "new"
        return Row(id=row_id)

    with serving(app) as client:
        (message,) = warnings_of(caplog)
        assert "evicts instead" in message
        client.get("/rows/1")
        client.put("/rows/1")
        after = client.get("/rows/1")
        assert (state_of(after), after.json()) == ("MISS", {"text": "new"})


def test_a_put_whose_get_varies_by_more_than_the_path_evicts_every_variant(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = new_app()
    ids = {1: 1}

    @app.get("/rows/{row_id}")
    async def row(
        row_id: int, accept_language: Annotated[str, Header()] = ""
    ) -> Annotated[Row, Cached(60)]:
        return Row(id=ids[row_id])

    @app.put("/rows/{row_id}")
    async def put_row(row_id: int) -> Annotated[Row, CachePut(60)]:
        ids[row_id] = 2
        return Row(id=2)

    languages = [headers("accept-language", language) for language in ("de", "fr")]
    with serving(app) as client:
        (message,) = warnings_of(caplog)
        assert "varies by more than its path" in message
        for language in languages:
            client.get("/rows/1", **language)
            assert state_of(client.get("/rows/1", **language)) == "HIT"
        client.put("/rows/1")
        for language in languages:
            after = client.get("/rows/1", **language)
            assert (state_of(after), after.json()) == ("MISS", {"id": 2})


# -- entries that cannot be believed


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda raw: b"",
    "noise": lambda raw: b"\xff\x00noise" * 20,
    "text": lambda raw: b'{"body": "eyJ4IjogMX0="}',
    "head only": lambda raw: raw[:20],
    "one byte short": lambda raw: raw[:-1],
    "one byte long": lambda raw: raw + b"x",
    "older format": lambda raw: bytes([raw[0] - 1]) + raw[1:],
    "newer format": lambda raw: bytes([raw[0] + 1]) + raw[1:],
    "unknown flag": lambda raw: raw[:6] + b"\x80" + raw[7:],
    "a name of a field": lambda raw: raw.replace(b"content-type", b"content type"),
    "a value of a field": lambda raw: raw.replace(b"application/json", b"application\x00json"),
    "a length": lambda raw: raw.replace(b"content-length\r\n1", b"content-length\r\n2"),
    "body": lambda raw: raw[:-1] + b"]",
}


@both_doors
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_a_damaged_entry_is_a_miss(
    door: Door, damage: Callable[[bytes], bytes], fake_client: Redis
) -> None:
    app = app_with(door, plain)
    share_client(app, fake_client)
    async with calling(app) as client:
        await client.get("/x")
        (key,) = await keys_of(fake_client, "e:")
        raw = await fake_client.get(key)
        assert isinstance(raw, bytes)
        await fake_client.set(key, damage(raw))
        answer = await client.get("/x")
        assert (state_of(answer), answer.json()) == ("MISS", {"plain": True})
        assert state_of(await client.get("/x")) == "HIT"


@both_doors
async def test_an_entry_of_another_type_in_redis_is_no_error(
    door: Door, fake_client: Redis
) -> None:
    app = app_with(door, plain)
    share_client(app, fake_client)
    async with calling(app) as client:
        await client.get("/x")
        (key,) = await keys_of(fake_client, "e:")
        await fake_client.delete(key)
        await fake_client.lpush(key, b"not an entry")
        for _ in range(2):
            answer = await client.get("/x")
            assert (answer.status_code, answer.json()) == (200, {"plain": True})


@both_doors
async def test_an_undamaged_entry_that_is_written_back_is_a_hit(
    door: Door, fake_client: Redis
) -> None:
    app = app_with(door, plain)
    share_client(app, fake_client)
    async with calling(app) as client:
        await client.get("/x")
        (key,) = await keys_of(fake_client, "e:")
        await fake_client.set(key, await fake_client.get(key) or b"")
        assert state_of(await client.get("/x")) == "HIT"


# -- Redis is away


def counting_app(door: Door, runs: Runs, **changes: Any) -> FastAPI:
    app = new_app(using=settings(**changes))

    @door.get(app, "/items/{item_id}", returns=Row, group="items")
    async def item(item_id: int) -> Any:
        return {"id": runs.note()}

    @app.put("/items/{item_id}")
    async def put_item(item_id: int) -> Annotated[Row, CacheEvict(group="items")]:
        return Row(id=runs.note())

    return app


def assert_serves_without_redis(app: FastAPI, runs: Runs) -> None:
    with serving(app) as client:
        for number in range(1, 4):
            answer = client.get("/items/1")
            assert (answer.status_code, answer.json()) == (200, {"id": number})
            assert state_of(answer) == "BYPASS"
        assert client.put("/items/1").status_code == 200
    assert len(runs) == 4


@both_doors
def test_a_wrong_port_is_no_error_for_the_client(door: Door) -> None:
    runs = Runs()
    app = counting_app(door, runs, url=f"redis://127.0.0.1:{free_port()}/0", deadline=0.5)
    assert_serves_without_redis(app, runs)


@both_doors
def test_a_stopped_server_is_no_error_for_the_client(door: Door) -> None:
    if reason := redis_server_available():
        pytest.skip(reason)
    runs = Runs()
    with RedisServer() as server:
        app = counting_app(door, runs, url=server.url, deadline=0.5)
        with serving(app) as client:
            client.get("/items/1")
            assert state_of(client.get("/items/1")) == "HIT"
            server.stop()
            for _ in range(2):
                answer = client.get("/items/1")
                assert (answer.status_code, state_of(answer)) == (200, "BYPASS")
            assert client.put("/items/1").status_code == 200
    assert len(runs) == 4


@both_doors
@pytest.mark.parametrize("error", [RedisConnectionError, OSError, RuntimeError])
def test_a_client_whose_every_call_raises_is_no_error(
    door: Door, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs()
    app = counting_app(door, runs)

    def fail(*_: Any, **__: Any) -> Any:
        raise error("away")

    for name in ("get_connection", "release"):
        monkeypatch.setattr("redis.asyncio.connection.ConnectionPool." + name, fail)
    monkeypatch.setattr("redis.asyncio.connection.AbstractConnection.pack_commands", fail)
    monkeypatch.setattr(FakeAsyncRedis, "execute_command", fail)
    monkeypatch.setattr(FakeAsyncRedis, "pipeline", fail)
    assert_serves_without_redis(app, runs)


@both_doors
def test_an_endpoint_that_raises_during_an_outage_raises_as_without_the_cache(door: Door) -> None:
    async def fails() -> Any:
        raise HTTPException(418)

    app = new_app(using=settings(url=f"redis://127.0.0.1:{free_port()}/0", deadline=0.5))
    door.get(app, "/x")(fails)
    with serving(app) as client:
        assert client.get("/x").status_code == 418
