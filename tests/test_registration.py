"""What a wrong declaration gets: an error with rule, route, marker and the line to write."""

import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import pytest
from fastapi import APIRouter, Depends, FastAPI, Form, Query, Request, Response, Security
from fastapi.routing import APIRoute
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer, OAuth2PasswordBearer
from pydantic import BaseModel, SecretStr
from starlette.authentication import requires

from apps import Product, cache_router, caching_app, memory_settings, serving, states
from redis_fastapi import (
    Cached,
    CacheDeclarationError,
    CacheError,
    CacheEvict,
    CachePut,
    CacheRoute,
    FastAPIRedis,
    redis_lifespan,
)
from redis_fastapi._policy.facts import EndpointFacts, MarkerFacts
from redis_fastapi._policy.rules import RULES, Rule, check


class User(BaseModel):
    id: int
    team: str = "red"


class Basket(BaseModel):
    items: list[int] = []


bearer = HTTPBearer(auto_error=False)


def current_user(token: Annotated[Any, Depends(bearer)]) -> User:
    return User(id=1)


CurrentUser = Annotated[User, Depends(current_user)]
SHORT = Cached(ttl=5)


NAMES: dict[str, Any] = {
    "APIRouter": APIRouter,
    "Annotated": Annotated,
    "AsyncIterator": AsyncIterator,
    "Basket": Basket,
    "CacheEvict": CacheEvict,
    "CachePut": CachePut,
    "CacheRoute": CacheRoute,
    "Cached": Cached,
    "CurrentUser": CurrentUser,
    "Depends": Depends,
    "Iterator": Iterator,
    "Product": Product,
    "Receipt": User,
    "Request": Request,
    "Response": Response,
    "SecretStr": SecretStr,
    "SHORT": SHORT,
    "TYPE_CHECKING": TYPE_CHECKING,
    "current_user": current_user,
    "requires": requires,
    "timedelta": timedelta,
}
"""What the declarations below may use."""


def declared(source: str, **names: Any) -> dict[str, Any]:
    """Run a declaration as a module would hold it."""
    scope = {**NAMES, **names}
    exec(source, scope)
    return scope


def registration_error(source: str, **names: Any) -> CacheDeclarationError:
    with pytest.raises(CacheDeclarationError) as caught:
        declared(source, **{"router": cache_router(), **names})
    return caught.value


async def start_up_error(app: FastAPI) -> CacheDeclarationError:
    with pytest.raises(CacheDeclarationError) as caught:
        async with serving(app):
            pass
    return caught.value


class Wrong(NamedTuple):
    """A declaration, the code of its error, its route, and the message."""

    line: str
    code: str
    route: str
    problem: tuple[str, ...]
    fix: str

    @property
    def source(self) -> str:
        decorator, endpoint = self.line.split(" ", 1)
        return f"{decorator}\n{endpoint}"


GET = '@router.get("/p/{product_id}") async def read(product_id: int)'
POST = '@router.post("/p") async def create(product_id: int)'
READ = "GET /p/{product_id} (read)"
CREATE = "POST /p (create)"

WRONG = {
    "two_cached": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=60), Cached(ttl=300)]: ...",
        "redis-cache-conflict",
        READ,
        ("Cached conflicts with Cached",),
        "-> Annotated[Product, Cached(ttl=60)]",
    ),
    "cached_and_put": Wrong(
        '@router.put("/p") async def put() -> Annotated[Product, CachePut(), Cached(ttl=3)]: ...',
        "redis-cache-method",
        "PUT /p (put)",
        ("Cached on PUT",),
        "CacheEvict",
    ),
    "two_puts": Wrong(
        '@router.put("/p") async def put() -> Annotated[Product, CachePut(), CachePut(3)]: ...',
        "redis-cache-conflict",
        "PUT /p (put)",
        ("CachePut conflicts with CachePut",),
        "-> Annotated[Product, CachePut()]",
    ),
    "cached_on_post": Wrong(
        f"{POST} -> Annotated[Product, Cached(ttl=300)]: ...",
        "redis-cache-method",
        CREATE,
        ("Cached on POST",),
        "-> Annotated[Product, CacheEvict(group='products')]",
    ),
    "cached_on_get_and_post": Wrong(
        '@router.api_route("/p",methods=["GET","POST"]) '
        "async def both() -> Annotated[Product, Cached(ttl=300)]: ...",
        "redis-cache-method",
        "GET|POST /p (both)",
        ("Cached on POST",),
        "CacheEvict",
    ),
    "put_on_get": Wrong(
        f"{GET} -> Annotated[Product, CachePut(ttl=300)]: ...",
        "redis-cache-method",
        READ,
        ("CachePut on GET",),
        "-> Annotated[Product, Cached(ttl=300)]",
    ),
    "negative_ttl": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=-1)]: ...",
        "redis-cache-value",
        READ,
        ("ttl=-1 of Cached",),
        "-> Annotated[Product, Cached(ttl=300)]",
    ),
    "zero_ttl": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=0, group='products')]: ...",
        "redis-cache-value",
        READ,
        ("ttl=0 of Cached is ambiguous",),
        "-> Annotated[Product, Cached(ttl=300, group='products')]",
    ),
    "zero_timedelta": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=timedelta(0))]: ...",
        "redis-cache-value",
        READ,
        ("ambiguous",),
        "-> Annotated[Product, Cached(ttl=300)]",
    ),
    "half_a_second": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=timedelta(milliseconds=500))]: ...",
        "redis-cache-value",
        READ,
        ("not a lifetime of at least one second",),
        "-> Annotated[Product, Cached(ttl=300)]",
    ),
    "ttl_that_is_true": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=True)]: ...",
        "redis-cache-value",
        READ,
        ("ttl=True of Cached",),
        "-> Annotated[Product, Cached(ttl=300)]",
    ),
    "ttl_that_is_text": Wrong(
        f"{GET} -> Annotated[Product, Cached('products')]: ...",
        "redis-cache-value",
        READ,
        ("ttl='products' of Cached",),
        "-> Annotated[Product, Cached(ttl=300)]",
    ),
    "ttl_that_is_no_number": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=float('nan'))]: ...",
        "redis-cache-value",
        READ,
        ("ttl=nan of Cached",),
        "-> Annotated[Product, Cached(ttl=300)]",
    ),
    "endless_ttl": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=float('inf'))]: ...",
        "redis-cache-value",
        READ,
        ("ttl=inf of Cached",),
        "-> Annotated[Product, Cached(ttl=300)]",
    ),
    "put_with_negative_ttl": Wrong(
        '@router.put("/p") async def put() -> Annotated[Product, CachePut(ttl=-5)]: ...',
        "redis-cache-value",
        "PUT /p (put)",
        ("ttl=-5 of CachePut",),
        "-> Annotated[Product, CachePut(ttl=300)]",
    ),
    "stale_without_a_lifetime": Wrong(
        f"{GET} -> Annotated[Product, Cached(stale_while_revalidate=30)]: ...",
        "redis-cache-value",
        READ,
        ("stale_while_revalidate=30 of Cached starts when a lifetime ends",),
        "-> Annotated[Product, Cached(stale_while_revalidate=30, ttl=300)]",
    ),
    "negative_stale_window": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=9, stale_if_error=timedelta(-1))]: ...",
        "redis-cache-value",
        READ,
        ("stale_if_error=", "is not a time of 0 seconds or more"),
        "-> Annotated[Product, Cached(ttl=9, stale_if_error=60)]",
    ),
    "negative_beta": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=9, beta=-1.0)]: ...",
        "redis-cache-value",
        READ,
        ("beta=-1.0 of Cached is not a number from 0",),
        "-> Annotated[Product, Cached(ttl=9, beta=1.0)]",
    ),
    "jitter_of_all_of_it": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=9, jitter=1.0)]: ...",
        "redis-cache-value",
        READ,
        ("jitter=1.0 of Cached is not a number from 0 and below 1",),
        "-> Annotated[Product, Cached(ttl=9, jitter=0.1)]",
    ),
    "statuses_of_a_part": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=9, statuses={{206: 10}})]: ...",
        "redis-cache-value",
        READ,
        ("statuses={206: 10} of Cached does not give statuses that can be stored",),
        "-> Annotated[Product, Cached(ttl=9, statuses={404: 10})]",
    ),
    "cdn_ttl_of_nothing": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=9, cdn_ttl=0)]: ...",
        "redis-cache-value",
        READ,
        ("cdn_ttl=0 of Cached is not a lifetime",),
        "-> Annotated[Product, Cached(ttl=9, cdn_ttl=3600)]",
    ),
    "cdn_ttl_of_a_private_answer": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=9, private=True, cdn_ttl=9)]: ...",
        "redis-cache-conflict",
        READ,
        ("private keeps the response out of them",),
        "-> Annotated[Product, Cached(ttl=9, private=True)]",
    ),
    "directive_with_a_line_break": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=9, directives='a\\nb')]: ...",
        "redis-cache-value",
        READ,
        ("in directives of Cached is not a directive",),
        "-> Annotated[Product, Cached(ttl=9, directives='must-revalidate')]",
    ),
    "directive_of_an_argument": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=9, directives=('max-age=1',))]: ...",
        "redis-cache-value",
        READ,
        ("'max-age=1' in directives of Cached is said by ttl",),
        "-> Annotated[Product, Cached(ttl=9, directives='must-revalidate')]",
    ),
    "group_list": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=3, group=['a'])]: ...",
        "redis-cache-value",
        READ,
        ("group=['a'] of Cached",),
        "-> Annotated[Product, Cached(ttl=3, group=('products',))]",
    ),
    "empty_group": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=3, group='')]: ...",
        "redis-cache-value",
        READ,
        ("group='' of Cached",),
        "-> Annotated[Product, Cached(ttl=3, group=('products',))]",
    ),
    "relative_key": Wrong(
        f"{POST} -> Annotated[Product, CacheEvict(key='products')]: ...",
        "redis-cache-value",
        CREATE,
        ("key='products' of CacheEvict",),
        "-> Annotated[Product, CacheEvict(key='/products/{product_id}')]",
    ),
    "when_that_is_no_function": Wrong(
        f"{POST} -> Annotated[Product, CacheEvict(group='products', when=True)]: ...",
        "redis-cache-value",
        CREATE,
        ("when=True of CacheEvict",),
        "-> Annotated[Product, CacheEvict(group='products')]",
    ),
    "eviction_of_nothing": Wrong(
        f"{POST} -> Annotated[Product, CacheEvict()]: ...",
        "redis-cache-value",
        CREATE,
        ("neither a group nor a key",),
        "-> Annotated[Product, CacheEvict(group='products')]",
    ),
    "unknown_placeholder": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=3, group='p:{{prodct_id}}')]: ...",
        "redis-cache-placeholder",
        READ,
        ("'prodct_id'", "not a parameter of read", "did you mean 'product_id'?"),
        "-> Annotated[Product, Cached(ttl=3, group='p:{product_id}')]",
    ),
    "unknown_placeholder_among_many": Wrong(
        f"{POST} -> Annotated[Product, CacheEvict(group=('all', 'p:{{prodct_id}}'))]: ...",
        "redis-cache-placeholder",
        CREATE,
        ("'prodct_id'", "did you mean 'product_id'?"),
        "-> Annotated[Product, CacheEvict(group=('all', 'p:{product_id}'))]",
    ),
    "placeholder_like_the_text_before_it": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=3, group='product:{{product}}')]: ...",
        "redis-cache-placeholder",
        READ,
        ("'product'", "did you mean 'product_id'?"),
        "-> Annotated[Product, Cached(ttl=3, group='product:{product_id}')]",
    ),
    "whole_model_in_key": Wrong(
        '@router.post("/p") async def create(item: Product) '
        "-> Annotated[Product, CacheEvict(key='/p/{item}')]: ...",
        "redis-cache-placeholder",
        CREATE,
        ("'item'", "'Product' has no text of its own; name a value in it"),
        "-> Annotated[Product, CacheEvict(group='products')]",
    ),
    "secret_in_group": Wrong(
        '@router.post("/p") async def create(token: SecretStr) '
        "-> Annotated[Product, CacheEvict(group='of:{token}')]: ...",
        "redis-cache-placeholder",
        CREATE,
        ("'token'", "all values of 'SecretStr' have one text"),
        "-> Annotated[Product, CacheEvict(group='products')]",
    ),
    "unknown_placeholder_in_key": Wrong(
        f"{POST} -> Annotated[Product, CacheEvict(key='/p/{{product}}')]: ...",
        "redis-cache-placeholder",
        CREATE,
        ("'product'", "did you mean 'product_id'?"),
        "-> Annotated[Product, CacheEvict(key='/p/{product_id}')]",
    ),
    "unknown_name_in_vary": Wrong(
        '@router.get("/p") async def read(user: CurrentUser) '
        "-> Annotated[Product, Cached(ttl=3, vary='usr.id')]: ...",
        "redis-cache-placeholder",
        "GET /p (read)",
        ("'usr'", "did you mean 'user'?"),
        "-> Annotated[Product, Cached(ttl=3, vary='user.id')]",
    ),
    "malformed_placeholder": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=3, group='p:{{product_id!r}}')]: ...",
        "redis-cache-placeholder",
        READ,
        ("malformed", "no format or conversion"),
        "-> Annotated[Product, Cached(ttl=3)]",
    ),
    "unclosed_placeholder": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=3, group='p:{{product_id')]: ...",
        "redis-cache-placeholder",
        READ,
        ("malformed",),
        "-> Annotated[Product, Cached(ttl=3)]",
    ),
    "nested_in_list": Wrong(
        f"{GET} -> list[Annotated[Product, Cached(ttl=300)]]: ...",
        "redis-cache-misplaced",
        READ,
        ("Cached has no effect here",),
        "-> Annotated[list[Product], Cached(ttl=300)]",
    ),
    "nested_in_union": Wrong(
        f"{GET} -> Annotated[Product, Cached(ttl=300)] | None: ...",
        "redis-cache-misplaced",
        READ,
        ("Cached has no effect here",),
        "-> Annotated[Product | None, Cached(ttl=300)]",
    ),
    "on_a_parameter": Wrong(
        '@router.get("/p") async def read(n: Annotated[int, Cached(ttl=300)]) -> Product: ...',
        "redis-cache-misplaced",
        "GET /p (read)",
        ("Cached has no effect here",),
        "-> Annotated[Product, Cached(ttl=300)]",
    ),
    "bare_class": Wrong(
        f"{GET} -> Annotated[Product, Cached]: ...",
        "redis-cache-instance",
        READ,
        ("Cached is the marker class",),
        "-> Annotated[Product, Cached(ttl=300)]",
    ),
    "bare_eviction_class": Wrong(
        f"{POST} -> Annotated[Product, CacheEvict]: ...",
        "redis-cache-instance",
        CREATE,
        ("CacheEvict is the marker class",),
        "-> Annotated[Product, CacheEvict(group='products')]",
    ),
    "bare_class_on_a_parameter": Wrong(
        '@router.get("/p") async def read(n: Annotated[int, Cached]) -> Product: ...',
        "redis-cache-misplaced",
        "GET /p (read)",
        ("Cached has no effect here",),
        "-> Annotated[Product, Cached(ttl=300)]",
    ),
    "async_generator": Wrong(
        '@router.get("/p") async def rows() '
        "-> Annotated[AsyncIterator[str], Cached(ttl=300)]: yield 'row'",
        "redis-cache-serialize",
        "GET /p (rows)",
        ("Cached on a generator",),
        "async def rows(...) -> list[...]",
    ),
    "generator": Wrong(
        '@router.get("/p") def rows() -> Annotated[Iterator[str], Cached(ttl=300)]: yield 1',
        "redis-cache-serialize",
        "GET /p (rows)",
        ("Cached on a generator",),
        "def rows(...) -> list[...]",
    ),
    "evicting_generator": Wrong(
        '@router.post("/p") async def rows() '
        "-> Annotated[AsyncIterator[str], CacheEvict(group='products')]: yield 'row'",
        "redis-cache-serialize",
        "POST /p (rows)",
        ("CacheEvict on a generator",),
        "async def rows(...) -> list[...]",
    ),
    "vary_and_shared": Wrong(
        '@router.get("/p") async def read(user: CurrentUser) '
        "-> Annotated[Product, Cached(ttl=3, vary='user.id', shared=True)]: ...",
        "redis-cache-conflict",
        "GET /p (read)",
        ("shared=True",),
        "-> Annotated[Product, Cached(ttl=3, vary='user.id')]",
    ),
    "secured": Wrong(
        '@router.get("/p") async def read(user: CurrentUser) '
        "-> Annotated[Basket, Cached(ttl=60)]: ...",
        "redis-cache-secured",
        "GET /p (read)",
        ("'user' comes from a security scheme",),
        "-> Annotated[Basket, Cached(ttl=60, vary='user.id')]",
    ),
    "checked_by_a_decorator": Wrong(
        '@router.get("/p")\n@requires("signed-in") async def read(request: Request) '
        "-> Annotated[Basket, Cached(ttl=60, shared=True)]: ...",
        "redis-cache-secured",
        "GET /p (read)",
        ("@requires", "a hit does not run"),
        "dependencies=[Depends(...)]",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_declaration_is_refused_at_registration(name: str) -> None:
    wrong = WRONG[name]

    error = registration_error(wrong.source)

    assert (error.code, error.route) == (wrong.code, wrong.route)
    for part in wrong.problem:
        assert part in error.problem
    assert error.fix.startswith(wrong.fix) or wrong.fix in error.fix
    for part in (error.code, error.route, error.problem, error.fix):
        assert part in str(error)


READY = {name: wrong for name, wrong in WRONG.items() if wrong.fix.startswith("->")}


@pytest.mark.parametrize("name", READY)
def test_the_line_to_write_instead_is_accepted(name: str) -> None:
    wrong = READY[name]
    error = registration_error(wrong.source)
    line = error.fix.splitlines()[0].split("  #")[0]
    head, _, tail = wrong.source.partition(" -> ")
    head = re.sub(r"Annotated\[int, Cached[^\]]*\]", "int", head)
    body = "yield 1" if "yield" in tail else "..."

    declared(f"{head} {line}: {body}", router=cache_router())


@pytest.mark.parametrize("name", WRONG)
def test_app_routes_after_caching_are_checked_alike(name: str) -> None:
    wrong = WRONG[name]

    error = registration_error(wrong.source, router=caching_app())

    assert (error.code, error.route) == (wrong.code, wrong.route)


def test_a_declaration_error_is_a_cache_error_and_a_type_error() -> None:
    error = registration_error(WRONG["zero_ttl"].source)

    assert isinstance(error, CacheError)
    assert isinstance(error, TypeError)


def test_a_label_names_callable_objects_and_the_prefix_of_the_router() -> None:
    class Reader:
        # the mistake that brings the label into a message
        def __call__(self) -> Annotated[Product, Cached(ttl=0)]:  # type: ignore[redis-cache-value]
            return Product(id=1)

    router = cache_router(prefix="/shop")
    with pytest.raises(CacheDeclarationError) as caught:
        router.add_api_route("/p", Reader())

    assert caught.value.route == "GET /shop/p (Reader)"


# The table


ROUTER = "router = APIRouter(route_class=CacheRoute)"
MARKED = '-> Annotated[Product, Cached(ttl=300, group="products")]'


def endpoint(returns: str) -> str:
    return f"""
@router.get("/products/{{product_id}}")
async def get_product(product_id: int, language: str = "en") {returns}: ...
"""


def source_for(rule: Rule, line: str) -> str:
    """A line of the table as a module that declares a router."""
    line = line.partition("  #")[0]
    if rule.code == "redis-cache-route":
        return f"{line}\n{endpoint(MARKED)}"
    if rule.code == "redis-cache-unread":
        imports = line.replace(".models", "apps")
        return f"from __future__ import annotations\ndel Product\n{imports}\n{ROUTER}\n" + endpoint(
            MARKED
        )
    if line.startswith("->"):
        return f"{ROUTER}\n{endpoint(line)}"
    decorator = '@router.get("/other")'
    if rule.code == "redis-cache-key":
        decorator = '@router.post("/other")'
    if line.startswith("@"):
        decorator, _, returns = line.partition(" ... ")
        line = f"async def write(product_id: int = 1) {returns}"
    body = "" if line.endswith("...") else ": ..."
    return f"{ROUTER}\n{endpoint(MARKED)}\n{decorator}\n{line}{body}"


async def serve(source: str, *, strict: bool = False) -> None:
    """Register and start what a source declares."""
    app = FastAPI()
    FastAPIRedis(app, memory_settings(strict=strict)).lifespan()
    app.include_router(declared(source)["router"])
    async with serving(app):
        pass


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
async def test_the_wrong_line_of_every_rule_breaks_it(rule: Rule) -> None:
    with pytest.raises(CacheDeclarationError) as caught:
        await serve(source_for(rule, rule.wrong), strict="REDIS_STRICT" in rule.seen)

    assert caught.value.code == rule.code


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.code)
async def test_the_right_line_of_every_rule_is_accepted(rule: Rule) -> None:
    await serve(source_for(rule, rule.right), strict="REDIS_STRICT" in rule.seen)


def test_rules_have_unique_codes_and_a_reason() -> None:
    codes = [rule.code for rule in RULES]

    assert len(codes) == len(set(codes))
    assert all(code.startswith("redis-cache-") for code in codes)
    assert all(rule.why.endswith(".") for rule in RULES)


def test_a_rule_is_silent_about_what_it_cannot_know() -> None:
    unknown = EndpointFacts("read", markers=(MarkerFacts("Cached", {"group": "p:{anything}"}),))

    assert list(check(unknown)) == []


# What is allowed


@pytest.mark.parametrize(
    "returns",
    [
        "Annotated[Product, Cached()]",
        "Annotated[Product, Cached(300)]",
        "Annotated[Product, Cached(ttl=timedelta(minutes=5))]",
        "Annotated[Product, Cached(ttl=timedelta(seconds=1.5))]",
        "Annotated[Product, Cached(ttl=1, group='a:{product_id}')]",
        "Annotated[Product, Cached(ttl=1, group=('a', 'b:{product_id}'))]",
        "Annotated[Product, Cached(ttl=1, group='{{literal}}')]",
        "Annotated[Product, Cached(ttl=1, when=lambda product: True)]",
        "Annotated[Product, Cached(ttl=1, key='/other/{product_id}')]",
        "Annotated[Product, Cached(ttl=1), CacheEvict(group='views')]",
        "Annotated[Product, CacheEvict(group='views')]",
        "Annotated[Response, Cached(ttl=1)]",
        "Annotated[None, Cached(ttl=1)]",
    ],
)
async def test_right_declarations_of_a_get_are_accepted(returns: str) -> None:
    source = f"{GET} -> {returns}: ...".replace(" async", "\nasync")
    await serve(f"router = APIRouter(route_class=CacheRoute)\n{source}")


@pytest.mark.parametrize("option", ["shared=True", "shared=False", "vary='user.id'"])
async def test_a_secured_endpoint_is_accepted_with_vary_or_shared(option: str) -> None:
    await serve(
        "router = APIRouter(route_class=CacheRoute)\n@router.get('/p')\n"
        f"async def read(user: CurrentUser) -> Annotated[Basket, Cached(ttl=3, {option})]: ..."
    )


@pytest.mark.parametrize(
    "scheme",
    [
        APIKeyCookie(name="session"),
        APIKeyHeader(name="x-key"),
        OAuth2PasswordBearer(tokenUrl="token"),
        bearer,
    ],
)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_security_scheme_is_found_at_any_depth(scheme: Any, depth: int) -> None:
    dependency = scheme
    for _ in range(depth):
        dependency = depending_on(dependency)
    router = cache_router()

    with pytest.raises(CacheDeclarationError) as caught:

        @router.get("/p")
        async def read(who: Annotated[Any, Security(dependency)]) -> Annotated[int, Cached(3)]:
            return 1

    assert caught.value.code == "redis-cache-secured"
    assert "'who'" in caught.value.problem


def depending_on(dependency: Any) -> Any:
    def above(value: Annotated[Any, Depends(dependency)]) -> Any:
        return value

    return above


async def test_a_guard_whose_value_is_not_received_needs_no_declaration() -> None:
    await serve(
        "router = APIRouter(route_class=CacheRoute)\n"
        "@router.get('/p', dependencies=[Depends(current_user)])\n"
        "async def read() -> Annotated[Basket, Cached(ttl=3)]: ..."
    )


def test_a_form_is_refused() -> None:
    pytest.importorskip("python_multipart")
    router = cache_router()

    with pytest.raises(CacheDeclarationError) as caught:

        @router.get("/p")
        # the mistake: a form in the key
        async def read(n: Annotated[int, Form()]) -> Annotated[int, Cached(ttl=3)]:  # type: ignore[redis-cache-serialize]
            return n

    assert caught.value.code == "redis-cache-serialize"
    assert "query parameters" in caught.value.fix


# Text annotations


@pytest.mark.parametrize(
    "returns",
    [
        "Annotated[Unimported, Cached(ttl=60)]",
        "Annotated[Unimported, SHORT]",
        "Annotated[list[Unimported], 'kept', CacheEvict(group='a')]",
        "AlsoUnimported[Annotated[Unimported, SHORT]]",
    ],
)
def test_a_marker_in_a_text_that_cannot_be_read_is_refused(returns: str) -> None:
    error = registration_error(f"@router.get('/p')\nasync def read() -> {returns!r}: ...")

    assert error.code == "redis-cache-unread"
    assert "read" in error.route
    assert "is not a name in that module" in error.problem
    assert "TYPE_CHECKING" in error.fix


def test_a_name_that_only_a_function_knows_is_named() -> None:
    error = registration_error(
        "def make():\n    number = 60\n    @router.get('/p')\n"
        "    async def read() -> 'Annotated[Product, Cached(ttl=number)]': ...\nmake()"
    )

    assert "'number' is not a name in that module" in error.problem
    assert error.fix.startswith("move 'number' to the module level")


def test_a_text_without_a_marker_is_fastapis_business() -> None:
    declared(
        "@router.get('/p', response_model=Product)\nasync def read() -> 'Unimported': ...",
        router=cache_router(),
    )


# What only the whole application shows


def add_marked(router: FastAPI | APIRouter) -> None:
    @router.get("/p")
    async def read() -> Annotated[Product, Cached(ttl=60)]:
        return Product(id=1)


def plain_router() -> APIRouter:
    router = APIRouter()
    add_marked(router)
    return router


def included(app: FastAPI) -> str:
    app.include_router(plain_router(), prefix="/in")
    return "GET /in/p (read)"


def nested(app: FastAPI) -> str:
    middle = APIRouter()
    middle.include_router(plain_router(), prefix="/in")
    app.include_router(middle, prefix="/out")
    return "GET /out/in/p (read)"


def in_cache_router(app: FastAPI) -> str:
    router = cache_router()
    router.include_router(plain_router(), prefix="/in")
    app.include_router(router)
    return "GET /in/p (read)"


def mounted(app: FastAPI) -> str:
    inner = FastAPI()
    add_marked(inner)
    app.mount("/inner", inner)
    return "GET /inner/p (read)"


def mounted_router(app: FastAPI) -> str:
    app.mount("/inner", plain_router())
    return "GET /inner/p (read)"


@pytest.mark.parametrize("place", [included, nested, in_cache_router, mounted, mounted_router])
async def test_a_marker_on_a_plain_route_is_refused_at_start_up(place: Any) -> None:
    app = caching_app()
    route = place(app)

    error = await start_up_error(app)

    assert (error.code, error.route) == ("redis-cache-route", route)
    assert "Cached" in error.problem
    assert "APIRouter(route_class=CacheRoute)" in error.fix


async def test_a_marker_on_a_route_of_another_class_is_refused_with_the_class_to_write() -> None:
    class Own(APIRoute):
        pass

    app = caching_app()
    router = APIRouter(route_class=Own)
    add_marked(router)
    app.include_router(router)

    error = await start_up_error(app)

    assert (error.code, error.route) == ("redis-cache-route", "GET /p (read)")
    line = "class CachedOwn(CacheRoute, Own): ...  # and APIRouter(route_class=CachedOwn)"
    assert error.fix == line


async def test_a_marker_before_caching_is_refused_at_start_up() -> None:
    app = FastAPI()
    add_marked(app)
    FastAPIRedis(app, memory_settings()).lifespan().caching()

    error = await start_up_error(app)

    assert error.code == "redis-cache-route"
    assert ".caching() before the endpoints" in error.fix


@pytest.mark.parametrize("returns", ["Response", "Product", "None", "int | None"])
async def test_a_plain_route_registers_with_any_marked_type(returns: str) -> None:
    app = caching_app()
    router = declared(
        f"router = APIRouter()\n@router.get('/p')\n"
        f"async def read() -> Annotated[{returns}, Cached(ttl=60)]: ..."
    )["router"]
    app.include_router(router)

    assert (await start_up_error(app)).code == "redis-cache-route"


@pytest.mark.parametrize(
    ("annotation", "code"),
    [
        ("list[Annotated[Product, Cached(ttl=60)]]", "redis-cache-misplaced"),
        ("Annotated[Product, Cached]", "redis-cache-instance"),
    ],
)
async def test_markers_without_effect_on_a_plain_route_are_refused_at_start_up(
    annotation: str, code: str
) -> None:
    app = caching_app()
    source = f"router = APIRouter()\n@router.get('/p')\nasync def read() -> {annotation}: ..."
    app.include_router(declared(source)["router"])

    error = await start_up_error(app)

    assert (error.code, error.route) == (code, "GET /p (read)")


async def test_an_unmarked_plain_route_is_left_alone() -> None:
    app = caching_app()
    router = APIRouter()

    @router.get("/p")
    async def read(n: Annotated[int, Query()] = 1) -> Product:
        return Product(id=n)

    app.include_router(router)

    async with serving(app) as http:
        assert await states(http, "/p", "/p") == [None, None]


async def test_every_further_error_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    app = caching_app()
    for prefix in ("/a", "/b"):
        app.include_router(plain_router(), prefix=prefix)

    error = await start_up_error(app)

    assert error.route == "GET /a/p (read)"
    assert "GET /b/p (read)" in caplog.text


async def test_redis_lifespan_checks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    app = FastAPI(lifespan=redis_lifespan)
    app.include_router(plain_router())
    monkeypatch.setattr("redis_fastapi._app.runtime.get_settings", memory_settings)

    assert (await start_up_error(app)).code == "redis-cache-route"


async def test_an_opaque_endpoint_is_warned_about_and_refused_when_strict(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def opaque_app(**settings: Any) -> FastAPI:
        app = caching_app(memory_settings(**settings))

        @app.get("/p")
        async def read(request: Request) -> Annotated[Product, Cached(ttl=60)]:
            return Product(id=1)

        return app

    async with serving(opaque_app()):
        pass
    error = await start_up_error(opaque_app(strict=True))

    assert "GET /p (read)" in caplog.text
    assert "shared=True" in caplog.text
    assert (error.code, error.route) == ("redis-cache-strict", "GET /p (read)")
