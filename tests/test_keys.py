"""Two different inputs never share a key, and the same input always has the same one."""

import os
import subprocess
import sys
from collections.abc import Callable, Collection
from enum import Enum
from itertools import product
from types import SimpleNamespace
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlencode

import pytest
from fakeredis import FakeAsyncRedis
from fastapi import APIRouter, FastAPI, Header, Request
from fastapi.testclient import TestClient
from hypothesis import assume, given
from hypothesis import strategies as st
from starlette.applications import Starlette

from redis_fastapi import CacheBackend, Cached, CacheEvict, CachePut, CacheRoute, RedisSettings
from redis_fastapi._policy.declare import default_key_builder
from redis_fastapi._policy.inputs import Names
from redis_fastapi._policy.policy import Selectors, simple_text
from redis_fastapi._policy.resource import (
    ResourceTemplate,
    mount_of,
    named_resource,
    path_of,
    path_resource,
)
from redis_fastapi._policy.templates import Field, Template
from redis_fastapi._redis.keys import EPOCH, digest, group_name, path_name
from support import Body, new_app, serving, state_of

AWKWARD = "/:%?#&={}~*+ \\.,;@'\"()-_\x00\n\u00e4\u20ac\U0001f600ab01"
texts = st.text(max_size=8) | st.text(alphabet=AWKWARD, max_size=8)
some_texts = st.lists(texts, max_size=4)
# an HTTP header value is any latin-1 text without line breaks
header_values = st.text(
    alphabet=st.characters(max_codepoint=255, exclude_characters="\r\n\x00"), max_size=6
)


def all_of(parts: Collection[Any], *, longest: int) -> list[tuple[Any, ...]]:
    """Every sequence of these parts."""
    return [made for size in range(longest + 1) for made in product(parts, repeat=size)]


def all_texts(alphabet: str, *, longest: int) -> list[str]:
    return ["".join(letters) for letters in all_of(alphabet, longest=longest)]


def meet(values: Collection[Any], key: Callable[[Any], object]) -> bool:
    """Whether two of these different values have one key."""
    return len({key(value) for value in values}) < len(values)


# -- digests


@given(some_texts, some_texts)
def test_different_sequences_have_different_digests(one: list[str], other: list[str]) -> None:
    assert (digest(one) == digest(other)) == (one == other)


def test_control_strings_joined_by_a_separator_collide() -> None:
    sequences = all_of(all_texts("a:", longest=2), longest=3)
    assert meet(sequences, ":".join)
    assert not meet(sequences, digest)


def test_a_lone_surrogate_has_a_digest() -> None:
    assert digest(["\ud800"]) != digest(["\udfff"])


# -- resources

VALUES = st.tuples(texts.filter(bool), texts.filter(bool), texts.filter(bool))
TEMPLATES = [
    "/{a}/{b}/{c}",
    "/x{a}y{b}z{c}",
    "/{a}:{b}:{c}",
    "/{a}-{b}/{c:path}",
    "/~{a}/%7E/{b},{c}",
]


@pytest.mark.parametrize("path", TEMPLATES)
def test_different_urls_are_different_resources(path: str) -> None:
    template = ResourceTemplate.parse(path)

    @given(VALUES, VALUES)
    def resources_differ_as_urls_do(one: tuple[str, ...], other: tuple[str, ...]) -> None:
        first, second = dict(zip("abc", one, strict=True)), dict(zip("abc", other, strict=True))
        same_resource = template.render(first) == template.render(second)
        assert not same_resource or template.spell(first) == template.spell(second)

    resources_differ_as_urls_do()


@pytest.mark.parametrize("path", ["/{a}/{b}/{c}", "/a/{a}/b/{b}/c/{c}"])
def test_different_values_between_slashes_are_different_resources(path: str) -> None:
    template = ResourceTemplate.parse(path)

    @given(VALUES, VALUES)
    def resources_differ_as_values_do(one: tuple[str, ...], other: tuple[str, ...]) -> None:
        first, second = dict(zip("abc", one, strict=True)), dict(zip("abc", other, strict=True))
        assert (template.render(first) == template.render(second)) == (one == other)

    resources_differ_as_values_do()


def test_control_unquoted_values_collide() -> None:
    pairs = list(product(all_texts("a/", longest=3), repeat=2))
    assert meet(pairs, lambda values: f"/{values[0]}/{values[1]}")
    template = ResourceTemplate.parse("/{a}/{b}")
    assert not meet(pairs, lambda values: template.render({"a": values[0], "b": values[1]}))


@given(texts)
def test_a_value_without_slash_stays_in_its_segment(value: str) -> None:
    rendered = ResourceTemplate.parse("/x/{a}/y").render({"a": value})
    assert rendered.count("/") == 3
    assert unquote(rendered) == f"/x/{value}/y"


@pytest.mark.parametrize(
    ("path", "values", "resource"),
    [
        ("/shop/caf\u00e9/{a}", {"a": "x y"}, "/shop/caf%C3%A9/x%20y"),
        ("/{a}", {"a": "b/c"}, "/b%2Fc"),
        ("/{a:path}", {"a": "b/c"}, "/b/c"),
        ("/{a:path}", {"a": "b?c#d%"}, "/b%3Fc%23d%25"),
        ("/{a:int}/x", {"a": 7}, "/7/x"),
        ("/{a}", {"a": "%2F"}, "/%252F"),
        ("/{{x}}/{a}", {"a": "b"}, "/%7Bx%7D/b"),
    ],
)
def test_resources_are_quoted_like_urls(
    path: str, values: dict[str, object], resource: str
) -> None:
    assert ResourceTemplate.parse(path).render(values) == resource


def test_a_path_convertor_allows_slashes_in_the_template() -> None:
    template = ResourceTemplate.parse("/{a}", frozenset({"a"}))
    assert template.render({"a": "b/c"}) == "/b/c"


kinds = st.sampled_from(["path", "name"])


@given(kinds, texts, texts, kinds, texts, texts)
def test_paths_names_and_prefixes_never_collide(
    kind: str, prefix: str, text: str, other_kind: str, other_prefix: str, other_text: str
) -> None:
    def resource(kind: str, prefix: str, text: str) -> str:
        return path_resource("/" + text, prefix) if kind == "path" else named_resource(text, prefix)

    one, other = (kind, prefix, text), (other_kind, other_prefix, other_text)
    assert (resource(*one) == resource(*other)) == (one == other)


def test_a_prefixed_name_is_not_the_name_that_looks_like_it() -> None:
    assert named_resource("b", "a") != named_resource("1:ab")


# -- groups and generations


@given(st.text(max_size=200), st.text(max_size=200))
def test_different_groups_are_different_generations(one: str, other: str) -> None:
    assert (group_name(one) == group_name(other)) == (one == other)


@given(st.text(max_size=200), st.text(max_size=200))
def test_groups_paths_and_the_epoch_never_collide(group: str, path: str) -> None:
    assert len({group_name(group), path_name(path), EPOCH}) == 3


def test_a_group_named_like_a_digest_is_not_the_long_group() -> None:
    long = "x" * 1_000
    assert group_name(long) != group_name(group_name(long).removeprefix("g:d:"))
    assert len(group_name(long)) < 64


class Initial(Enum):
    E = b"\xc3\xa9"


@pytest.mark.parametrize(
    "text", ["{a.b.c}", "user:{user.id}", "{{literal}}:{a}", "", "no fields", "{a}{b}"]
)
def test_a_template_fills_in_what_it_names(text: str) -> None:
    class Named:
        id = 7
        b = SimpleNamespace(c=8)

    values = {"a": Named(), "user": Named(), "b": "x"}
    expected = {
        "{a.b.c}": "8",
        "user:{user.id}": "user:7",
        "{{literal}}:{a}": f"{{literal}}:{values['a']}",
        "{a}{b}": f"{values['a']}x",
    }
    assert Template.parse(text).render(values) == expected.get(text, text)


@pytest.mark.parametrize("value", ["é", b"\xc3\xa9", Initial.E])
def test_a_value_is_written_as_a_url_writes_it(value: object) -> None:
    assert ResourceTemplate.parse("/x/{value}").render({"value": value}) == "/x/%C3%A9"


# -- selectors

SELECTORS = Selectors(
    own=(("q", ("q",)), ("many", ("many",))),
    names=Names(query=("r",), headers=("x-one", "x-two"), cookies=("theme",)),
    vary=(Field.parse("user"),),
    body=True,
)
cookie_values = st.none() | st.text(alphabet="abc019-_", max_size=4)
simple_values = st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from(["", "1", "None"])
asked = st.fixed_dictionaries(
    {
        "q": simple_values,
        "many": st.lists(st.sampled_from(["", "a", "b", "1"]), max_size=3),
        "r": st.lists(st.sampled_from(["", "a", "b", "2"]), max_size=3),
        "x-one": st.lists(header_values, max_size=2),
        "x-two": st.lists(header_values, max_size=2),
        "theme": cookie_values,
        "user": simple_values,
        "body": st.binary(max_size=3),
    }
)


def request_of(path: str = "/", query: Any = (), headers: Any = (), **scope: Any) -> Request:
    """A request as a server hands it on."""
    lines = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return Request(
        {
            "type": "http",
            "method": "GET",
            "path": path,
            "root_path": "",
            "query_string": urlencode(query).encode(),
            "headers": lines,
            "server": ("test", 80),
            **scope,
        }
    )


def selected(sent: dict[str, Any]) -> str:
    """The variant of what was sent, as the key holds it."""
    query = [(name, value) for name in ("many", "r") for value in sent[name]]
    lines = [(name, value) for name in ("x-one", "x-two") for value in sent[name]]
    if sent["theme"] is not None:
        lines.append(("cookie", f"theme={sent['theme']}"))
    values = {"q": sent["q"], "many": sent["many"], "user": sent["user"]}
    return digest(SELECTORS.parts(values, request_of(query=query, headers=lines), sent["body"]))


def typed(sent: dict[str, Any]) -> dict[str, Any]:
    """What was sent, with True and 1 distinguished."""
    return sent | {name: (type(sent[name]), sent[name]) for name in ("q", "user")}


@given(asked, asked)
def test_different_selections_are_different_variants(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert (selected(one) == selected(other)) == (typed(one) == typed(other))


@given(
    asked, st.sampled_from(["q", "many", "r", "x-one", "x-two", "theme", "user", "body"]), st.data()
)
def test_every_single_selector_counts(one: dict[str, Any], name: str, data: st.DataObject) -> None:
    other = data.draw(asked)
    assume(typed(one)[name] != typed(other)[name])
    assert selected(one) != selected(one | {name: other[name]})


@given(asked, st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), max_size=3))
def test_undeclared_parameters_do_not_select(
    sent: dict[str, Any], junk: list[tuple[str, str]]
) -> None:
    declared = {"many", "r"}
    query = [(f"junk-{name}", value) for name, value in junk]
    query += [(name, value) for name in sorted(declared) for value in sent[name]]
    values = {"q": sent["q"], "many": sent["many"], "user": sent["user"]}
    plain = {"x-one": [], "x-two": [], "theme": None} | {
        name: sent[name] for name in ("q", "many", "r", "user", "body")
    }
    request = request_of(query=query, headers=[("x-junk", "1")])
    assert digest(SELECTORS.parts(values, request, sent["body"])) == selected(plain)


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", "1", "2"])), max_size=4),
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", "1", "2"])), max_size=4),
)
def test_a_whole_query_selects_by_every_value_of_every_name(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    def by_name(query: list[tuple[str, str]]) -> list[tuple[str, str]]:
        return sorted(query, key=lambda pair: pair[0])

    whole = Selectors(names=Names(query=("*",)))
    keys = [digest(whole.parts({}, request_of(query=query))) for query in (one, other)]
    assert (keys[0] == keys[1]) == (by_name(one) == by_name(other))


def test_values_of_different_types_have_different_texts() -> None:
    shown = [simple_text(value) for value in (None, True, 1, 1.0, "1", "True", "None")]
    assert len(set(shown)) == len(shown)


def test_a_value_without_a_text_of_its_own_has_none() -> None:
    assert simple_text(object()) is None
    assert simple_text(["a", "b"]) is None


# -- key builders

queries = st.lists(
    st.tuples(st.text(alphabet=AWKWARD, max_size=3), st.text(alphabet=AWKWARD, max_size=3)),
    max_size=3,
)
paths = st.text(alphabet=AWKWARD, max_size=6).map(lambda text: "/" + text)
named = st.tuples(paths, queries, texts, texts)


def built(sent: tuple[str, list[tuple[str, str]], str, str]) -> str:
    path, query, group, prefix = sent
    return default_key_builder(request_of(path, query), eviction_group=group, prefix=prefix)


def comparable(sent: tuple[str, list[tuple[str, str]], str, str]) -> Any:
    path, query, group, prefix = sent
    return path, sorted(query, key=lambda pair: pair[0]), group, prefix


@given(named, named)
def test_different_requests_have_different_built_names(one: Any, other: Any) -> None:
    assert (built(one) == built(other)) == (comparable(one) == comparable(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("/a/b", []), ("/a:b", [])),
        (("/a", [("b", "1")]), ("/a:b=1", [])),
        (("/a", [("b", "1")]), ("/a?b=1", [])),
        (("/a?b=1", []), ("/a", [])),
        (("/a", [("x", "1&y=2")]), ("/a", [("x", "1"), ("y", "2")])),
        (("/a", [("x", "1"), ("x", "2")]), ("/a", [("x", "2"), ("x", "1")])),
    ],
)
def test_requests_that_other_builders_confuse_differ(one: Any, other: Any) -> None:
    assert built((*one, "", "")) != built((*other, "", ""))


@given(named)
def test_the_order_of_different_parameters_does_not_count(sent: Any) -> None:
    path, query, group, prefix = sent
    reordered = sorted(query, key=lambda pair: pair[0], reverse=True)
    assert built(sent) == built((path, reordered, group, prefix))


# -- keys of CacheBackend

backend = CacheBackend(FakeAsyncRedis(), settings=RedisSettings(url="memory://"))
group_and_key = st.tuples(texts, texts)


@given(group_and_key, group_and_key)
def test_different_backend_keys_are_different_entries(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    first, second = (backend._target(key, group) for group, key in (one, other))
    assert (first.entry == second.entry) == (one == other)


@given(group_and_key, paths, some_texts)
def test_backend_keys_never_collide_with_those_of_endpoints(
    named: tuple[str, str], path: str, variant: list[str]
) -> None:
    entry = backend._target(named[1], named[0]).entry
    for resource in (path_resource(path), path_resource(path, "p"), named_resource(path)):
        assert digest([resource, *variant]) != entry


# -- the same input, the same key

STABLE = """
from typing import Annotated
from fastapi import Header
from pydantic import BaseModel
from redis_fastapi import Cached, CacheRoute

class Item(BaseModel):
    alpha: int
    beta: str
    gamma: set[str]

async def item(
    item_id: int, x_b: Annotated[str, Header()] = "", x_a: Annotated[str, Header()] = ""
) -> Annotated[Item, Cached(60, group=("a", "b"))]: ...

route = CacheRoute(
    "/items/{item_id}", item, response_model_include={"alpha", "beta", "gamma"},
    response_model_exclude={"gamma": {"x", "y", "z"}},
)
policy = route.policy_for(route.dependant).read
print(policy.target("/items/1", ("a", "b"), ("a", "b")))
"""


def test_every_process_computes_the_same_key() -> None:
    def printed(seed: str) -> str:
        environment = os.environ | {"PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", STABLE]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout

    first, *others = (printed(seed) for seed in ("1", "2", "3"))
    assert first.startswith("Target(")
    assert set(others) == {first}


@given(asked)
def test_the_same_request_has_the_same_key(sent: dict[str, Any]) -> None:
    assert selected(sent) == selected(dict(sent))


# -- mounts and root paths


@pytest.mark.parametrize(
    ("scope", "mount", "path"),
    [
        ({"path": "/x"}, "", "/x"),
        ({"path": "/x", "root_path": "/proxy"}, "", "/x"),
        ({"path": "/proxy/x", "root_path": "/proxy"}, "", "/x"),
        ({"path": "/sub/x", "root_path": "/sub", "app_root_path": ""}, "/sub", "/sub/x"),
        (
            {"path": "/proxy/sub/x", "root_path": "/proxy/sub", "app_root_path": "/proxy"},
            "/sub",
            "/sub/x",
        ),
        ({"path": "/proxyx", "root_path": "/proxy"}, "", "/proxyx"),
    ],
)
def test_a_root_path_is_left_out_and_a_mount_kept(
    scope: dict[str, str], mount: str, path: str
) -> None:
    assert mount_of(scope) == mount
    assert path_of(scope) == path


def sub_app(name: str) -> FastAPI:
    app = FastAPI()
    router = APIRouter(route_class=CacheRoute)

    @router.get("/items/{item_id}")
    async def item(item_id: int) -> Annotated[Body, Cached(60)]:
        return {"from": name}

    if name != "tenant":

        @router.delete("/items/{item_id}")
        async def drop(item_id: int) -> Annotated[None, CacheEvict(key=item)]:
            return None

    app.include_router(router)
    return app


def mounted() -> FastAPI:
    app = new_app()
    app.mount("/one", sub_app("one"))
    app.mount("/two", sub_app("two"))
    app.mount("/tenants/{tenant}", sub_app("tenant"))
    return app


def test_the_same_route_below_two_mounts_is_two_resources() -> None:
    with serving(mounted()) as client:
        assert client.get("/one/items/1").json() == {"from": "one"}
        assert client.get("/two/items/1").json() == {"from": "two"}
        assert state_of(client.get("/one/items/1")) == "HIT"


def test_an_eviction_below_a_mount_reaches_its_own_path() -> None:
    with serving(mounted()) as client:
        client.get("/one/items/1")
        client.delete("/one/items/1")
        assert state_of(client.get("/one/items/1")) == "MISS"


def test_a_parameter_of_a_mount_selects_the_resource() -> None:
    with serving(mounted()) as client:
        for tenant in ("a", "b"):
            assert state_of(client.get(f"/tenants/{tenant}/items/1")) == "MISS"
        assert state_of(client.get("/tenants/a/items/1")) == "HIT"


def items(shelf: list[int]) -> APIRouter:
    router = APIRouter(route_class=CacheRoute)

    @router.get("/items/{item_id}")
    async def item(item_id: int) -> Annotated[Body, Cached(60)]:
        return {"stock": shelf[0]}

    @router.put("/items/{item_id}")
    async def put(item_id: int) -> Annotated[Body, CachePut()]:
        shelf[0] += 1
        return {"stock": shelf[0]}

    @router.post("/items/{item_id}")
    async def drop_path(item_id: str) -> Annotated[None, CacheEvict(key="/items/{item_id}")]:
        shelf[0] += 1

    return router


def shop_app() -> FastAPI:
    """Items, and others below a mount of its own."""
    app, stock, shelf = new_app(), FastAPI(), [0]
    router = items(shelf)
    (item, *_) = (route.author_endpoint for route in router.routes if isinstance(route, CacheRoute))

    @app.delete("/items/{item_id}")
    async def drop(item_id: int) -> Annotated[None, CacheEvict(key=item)]:
        shelf[0] += 1

    app.include_router(router)
    stock.include_router(items(shelf))
    app.mount("/stock/{place}", stock)
    return app


def assert_reached(client: TestClient, method: str, root: str, path: str) -> None:
    before = client.get(f"{root}/items/1").json()
    assert client.get(f"{root}/items/1").json() == before
    assert client.request(method, f"{root}{path}").status_code == 200
    assert client.get(f"{root}/items/1").json() != before


@pytest.mark.parametrize("outer", [FastAPI, Starlette])
@pytest.mark.parametrize("mount", ["/api", "/{tenant}"])
def test_a_write_reaches_its_paths_below_a_mount_that_its_application_does_not_know(
    outer: type[Starlette], mount: str
) -> None:
    app, site = shop_app(), outer()
    lifespan: Any = app.router.lifespan_context
    site.router.lifespan_context = lambda _: lifespan(app)
    site.mount(mount, app)
    with serving(site) as client:
        for method, path in (("DELETE", "/items/1"), ("POST", "/items/01"), ("PUT", "/items/01")):
            assert_reached(client, method, "/api", path)
        assert_reached(client, "PUT", "/api/stock/here", "/items/01")


def test_a_put_reaches_its_path_below_a_mount_with_any_parameter() -> None:
    with serving(shop_app()) as client:
        assert_reached(client, "PUT", "/stock/a@b:c d", "/items/01")


@pytest.mark.parametrize("prefix", ["", "/proxy"])
def test_a_root_path_does_not_change_what_is_evicted(prefix: str) -> None:
    app = new_app()

    @app.get("/items/{item_id}")
    async def item(item_id: int, x_a: Annotated[str, Header()] = "") -> Annotated[Body, Cached(60)]:
        return {}

    @app.delete("/items/{item_id}")
    async def drop(item_id: int) -> Annotated[None, CacheEvict(key="/items/{item_id}")]:
        return None

    with serving(app, root_path="/proxy") as client:
        client.get(f"{prefix}/items/1")
        assert state_of(client.get("/items/1")) == "HIT"
        client.delete(f"{prefix}/items/1")
        assert state_of(client.get("/items/1")) == "MISS"


def test_quoted_and_plain_spellings_of_a_path_are_one_resource() -> None:
    app = new_app()

    @app.get("/names/{name}")
    async def named(name: str) -> Annotated[Body, Cached(60)]:
        return {"name": name}

    with serving(app) as client:
        client.get("/names/" + quote("a b~c"))
        assert state_of(client.get("/names/a%20b%7Ec")) == "HIT"
