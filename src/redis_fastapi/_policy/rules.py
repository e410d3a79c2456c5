"""The rules for declarations: one table for registration, start-up and the type checker.

A rule takes facts (`facts.py`) and yields problems. This module imports neither FastAPI nor mypy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from .arguments import argument_problems
from .facts import (
    EndpointFacts,
    MarkerFacts,
    PlacedMarker,
    Problem,
    PutFacts,
    Unknown,
    placed_markers,
    spell,
)
from .placeholders import placeholder_problems

READ_METHODS: Final = frozenset({"GET", "HEAD"})
"""The methods that `Cached` serves; other safe methods are not cached."""

SKIPPED_BY_A_HIT: Final = "@requires is part of the endpoint, which a hit does not run"
"""Message about Starlette's decorator."""

_EXAMPLES: Final = {
    "Cached": "Cached(ttl=300)",
    "CachePut": "CachePut(ttl=300)",
    "CacheEvict": "CacheEvict(group='products')",
}


class Finding(NamedTuple):
    """A problem that only the whole application shows, and the route it is reported for."""

    route: str
    problem: Problem

    def __str__(self) -> str:
        return f"{self.route}: {self.problem.message}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its code, why it exists, a wrong and a right line, and the check itself.

    ``seen`` names where it is checked. A rule without a check needs more than one endpoint's facts.
    """

    code: str
    why: str
    wrong: str
    right: str
    check: Callable[[EndpointFacts], Iterator[Problem]] = lambda facts: iter(())
    seen: str = "mypy, registration"


def check(facts: EndpointFacts) -> Iterator[Problem]:
    """Every problem that the facts prove."""
    for rule in RULES:
        yield from rule.check(facts)


def finding(code: str, route: str, message: str) -> Finding:
    """A finding, with its rule's example as the line to write instead."""
    right = next(rule.right for rule in RULES if rule.code == code)
    return Finding(route, Problem(code, message, right))


def _instances(facts: EndpointFacts) -> Iterator[Problem]:
    for name in facts.classes:
        yield Problem(
            "redis-cache-instance",
            f"{name} is the marker class, not an instance, and has no effect",
            _annotated_with(facts, name),
        )


def _places(facts: EndpointFacts) -> Iterator[Problem]:
    for name in facts.misplaced:
        yield Problem(
            "redis-cache-misplaced",
            f"{name} has no effect here; it belongs at the top level of the return annotation",
            _annotated_with(facts, name),
        )


def _annotated_with(facts: EndpointFacts, kind: str) -> str:
    return f"-> Annotated[{facts.returns}, {_EXAMPLES.get(kind, kind)}]"


def _methods(facts: EndpointFacts) -> Iterator[Problem]:
    if facts.methods is None:
        return
    others, reads = sorted(facts.methods - READ_METHODS), sorted(facts.methods & READ_METHODS)
    for marker in placed_markers(facts):
        if marker.lenient:
            continue
        if marker.kind == "Cached" and others:
            yield marker.problem(
                "redis-cache-method",
                f"Cached on {', '.join(others)}: only GET is served from the cache",
                f"{spell(facts, MarkerFacts('CacheEvict', {'group': 'products'}))}"
                "  # or CachePut(...), on a write",
            )
        if marker.kind == "CachePut" and reads:
            yield marker.problem(
                "redis-cache-method",
                f"CachePut on {', '.join(reads)}: it writes what a write's endpoint returns",
                spell(facts, MarkerFacts("Cached", {"ttl": 300})),
            )


def _conflicts(facts: EndpointFacts) -> Iterator[Problem]:
    seen: list[str] = []
    for marker in placed_markers(facts):
        if marker.kind != "CacheEvict" and not marker.lenient:
            if seen:
                yield marker.problem(
                    "redis-cache-conflict",
                    f"{marker.kind} conflicts with {seen[0]}; an endpoint can have only one",
                    spell(facts, facts.markers[0]),
                )
            seen.append(marker.kind)
        yield from _private_for_cdn(marker)
        vary = marker.get("vary")
        if marker.get("shared") is True and vary and not isinstance(vary, Unknown):
            yield marker.problem(
                "redis-cache-conflict",
                "vary selects an entry per caller, but shared=True says that all callers share one",
                marker.spell(shared=None),
                "shared",
            )


def _private_for_cdn(marker: PlacedMarker) -> Iterator[Problem]:
    vary, cdn_ttl = marker.get("vary"), marker.get("cdn_ttl")
    kept = "private" if marker.get("private") is True else "vary" if vary else ""
    if cdn_ttl and kept and not isinstance(vary, Unknown) and not isinstance(cdn_ttl, Unknown):
        yield marker.problem(
            "redis-cache-conflict",
            f"cdn_ttl is for shared caches, but {kept} keeps the response out of them",
            marker.spell(cdn_ttl=None),
            "cdn_ttl",
        )


def _serializable(facts: EndpointFacts) -> Iterator[Problem]:
    if facts.generator and facts.markers:
        yield Problem(
            "redis-cache-serialize",
            f"{facts.markers[0].kind} on a generator: it runs while its response is sent, "
            "and a stream has no body that could be stored",
            f"async def {facts.name}(...) -> list[...]: ...  # or leave the marker out",
            0,
        )
    yield from _unstorable(facts)
    if facts.form and any(one.kind == "Cached" and not one.lenient for one in facts.markers):
        yield Problem(
            "redis-cache-serialize",
            "Cached on an endpoint that reads a form: a form cannot be part of the key",
            "take the values as query parameters",
        )


def _unstorable(facts: EndpointFacts) -> Iterator[Problem]:
    stores = [one for one in facts.markers if one.kind != "CacheEvict" and not one.lenient]
    if not stores:
        return
    index = facts.markers.index(stores[0])
    recorded = facts.response and stores[0].kind == "Cached"
    if facts.stream and not facts.generator and not recorded:
        yield Problem(
            "redis-cache-serialize",
            f"{stores[0].kind} on {facts.stream}: a stream has no body that could be stored",
            f"async def {facts.name}(...) -> list[...]: ...  # or leave the marker out",
            index,
        )
    if facts.schemaless:
        yield Problem(
            "redis-cache-serialize",
            f"{stores[0].kind} on {facts.schemaless}: pydantic has no schema for that class, so "
            "there is no body that could be stored",
            f"return a model, a dataclass or a plain value instead of {facts.schemaless}",
            index,
        )


def _puts(facts: EndpointFacts) -> Iterator[Problem]:
    if facts.put is None:
        return
    for index, marker in enumerate(facts.markers):
        if marker.kind == "CachePut" and (problem := put_problem(facts.put)):
            yield problem._replace(marker=index)


def put_problem(facts: PutFacts) -> Problem | None:
    """Why a put cannot write the entry of its GET: their models and groups must agree."""
    if facts.reader == "":
        return Problem(
            "redis-cache-put",
            "CachePut writes what a GET reads, but no cached GET serves that path",
            '@router.get("...") ... -> Annotated[..., Cached(ttl=300)]  '
            "# or CacheEvict on this write",
        )
    if facts.same_model is False:
        return Problem(
            "redis-cache-put",
            f"CachePut returns a different model than {facts.reader}, whose entry it would write",
            "return the model of the GET, or use CacheEvict",
        )
    known = facts.groups is not None and facts.reader_groups is not None
    if known and facts.groups and set(facts.groups) != set(facts.reader_groups or ()):
        return Problem(
            "redis-cache-put",
            f"CachePut says group={facts.groups!r}, {facts.reader} says {facts.reader_groups!r}",
            "leave group out of CachePut, it takes the groups of the GET",
            argument="group",
        )
    return None


def _secured(facts: EndpointFacts) -> Iterator[Problem]:
    yield from _checked_too_late(facts)
    for marker in placed_markers(facts):
        if marker.kind != "Cached" or marker.lenient or not facts.secured_by:
            continue
        if marker.get("vary") or marker.get("shared") is not None:
            continue
        who = facts.secured_by[0]
        # a class-based view holds its user
        user = "self.user" if who == "self" else who
        per_user, shared = marker.spell(vary=f"{user}.id"), marker.spell(shared=True)
        yield marker.problem(
            "redis-cache-secured",
            f"parameter {who!r} comes from a security scheme, but nothing says whether "
            "the response depends on the user",
            f"{per_user}  # one entry per user\n       or: {shared}  # the same for every user",
        )


def _checked_too_late(facts: EndpointFacts) -> Iterator[Problem]:
    cached = [one for one in facts.markers if one.kind == "Cached" and not one.lenient]
    if cached and facts.checked_by_requires:
        yield Problem(
            "redis-cache-secured",
            f"{SKIPPED_BY_A_HIT}, so an unauthenticated request would get the stored response",
            "dependencies=[Depends(...)] on the route, with a function that checks the same",
            facts.markers.index(cached[0]),
        )


def _routes(facts: EndpointFacts) -> Iterator[Problem]:
    if facts.cache_route is False and facts.markers:
        own = facts.route_class
        yield Problem(
            "redis-cache-route",
            f"{facts.markers[0].kind} has no effect: the route was not made by CacheRoute",
            f"class Cached{own}(CacheRoute, {own}): ...  # and APIRouter(route_class=Cached{own})"
            if own
            else "router = APIRouter(route_class=CacheRoute)  "
            "# for @app.get: FastAPIRedis(app).caching() before the endpoints",
        )


WHOLE_APP: Final = "redis-fastapi check, start-up: a warning, with REDIS_STRICT an error"
"""Where rules are checked that need all routes at once."""

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        "redis-cache-instance",
        "A class carries no ttl, no group and no effect; FastAPI ignores it silently.",
        "-> Annotated[Product, Cached]",
        "-> Annotated[Product, Cached(ttl=300)]",
        _instances,
    ),
    Rule(
        "redis-cache-misplaced",
        "Only the top of the return annotation is the endpoint's policy.",
        "-> Annotated[Product, Cached(ttl=300)] | None",
        "-> Annotated[Product | None, Cached(ttl=300)]",
        _places,
    ),
    Rule(
        "redis-cache-value",
        "A lifetime is at least a second, stale windows need one, and an eviction names something.",
        "-> Annotated[Product, Cached(ttl=0)]",
        "-> Annotated[Product, Cached(ttl=300)]",
        argument_problems,
    ),
    Rule(
        "redis-cache-placeholder",
        "A placeholder must name a parameter of the endpoint, so that a rename is noticed.",
        '-> Annotated[Product, Cached(ttl=300, group="product:{id}")]',
        '-> Annotated[Product, Cached(ttl=300, group="product:{product_id}")]',
        placeholder_problems,
    ),
    Rule(
        "redis-cache-method",
        "Cached serves safe requests, CachePut stores the response of a write.",
        '@router.post("/products") ... -> Annotated[Product, Cached(ttl=300)]',
        '@router.post("/products") ... -> Annotated[Product, CacheEvict(group="products")]',
        _methods,
    ),
    Rule(
        "redis-cache-conflict",
        "An endpoint is either read from the cache or written through, under one policy.",
        "-> Annotated[Product, Cached(ttl=60), Cached(ttl=300)]",
        "-> Annotated[Product, Cached(ttl=300)]",
        _conflicts,
    ),
    Rule(
        "redis-cache-serialize",
        "Only a complete body can be stored and replayed.",
        "async def rows() -> Annotated[AsyncIterator[str], Cached(ttl=300)]: yield ...",
        "async def rows() -> Annotated[list[str], Cached(ttl=300)]: ...",
        _serializable,
    ),
    Rule(
        "redis-cache-secured",
        "One user's response must not reach another; only you know whether users may share it.",
        "async def basket(user: CurrentUser) -> Annotated[Basket, Cached(ttl=60)]",
        'async def basket(user: CurrentUser) -> Annotated[Basket, Cached(ttl=60, vary="user.id")]',
        _secured,
    ),
    Rule(
        "redis-cache-route",
        "The marker is read by CacheRoute; a plain route ignores it.",
        "router = APIRouter()",
        "router = APIRouter(route_class=CacheRoute)",
        _routes,
    ),
    Rule(
        "redis-cache-put",
        "A put writes the entry that its GET reads, so both must return the same model.",
        '@router.put("/products/{product_id}") ... -> Annotated[Receipt, CachePut()]',
        '@router.put("/products/{product_id}") ... -> Annotated[Product, CachePut()]',
        _puts,
        seen="mypy (same module and router), start-up",
    ),
    Rule(
        "redis-cache-key",
        "An endpoint used as key must be served here, with its path parameters available.",
        "async def refresh() -> Annotated[None, CacheEvict(key=get_product)]",
        "async def refresh(product_id: int) -> Annotated[None, CacheEvict(key=get_product)]",
        seen="start-up",
    ),
    Rule(
        "redis-cache-unread",
        "A marker in an annotation that cannot be evaluated would silently do nothing.",
        "if TYPE_CHECKING: from .models import Product",
        "from .models import Product",
        seen="registration",
    ),
    Rule(
        "redis-cache-unfilled",
        "Evicting a group that no GET is in does nothing; usually its name is misspelt.",
        '@router.delete("/products/{product_id}") ... -> '
        'Annotated[None, CacheEvict(group="product")]',
        '@router.delete("/products/{product_id}") ... -> '
        'Annotated[None, CacheEvict(group="products")]',
        seen=WHOLE_APP,
    ),
    Rule(
        "redis-cache-unserved",
        "Evicting a path that no cached GET serves does nothing; usually it is misspelt.",
        '@router.post("/products/{product_id}/sale") ... -> '
        'Annotated[None, CacheEvict(key="/product/{product_id}")]',
        '@router.post("/products/{product_id}/sale") ... -> '
        'Annotated[None, CacheEvict(key="/products/{product_id}")]',
        seen=WHOLE_APP,
    ),
    Rule(
        "redis-cache-endless",
        "Entries without a ttl, in groups that no write evicts, are never renewed.",
        '-> Annotated[Product, Cached(group="products")]',
        '-> Annotated[Product, Cached(ttl=300, group="products")]',
        seen=WHOLE_APP,
    ),
    Rule(
        "redis-cache-same-key",
        "If two GETs share a key, each rejects what the other stored. If their functions share a "
        "name too, neither can, and the start fails.",
        '@router.get("/products/{number}") ... -> Annotated[Product, Cached(ttl=300)]',
        '@router.get("/products/{number}/details") ... -> Annotated[Product, Cached(ttl=300)]',
        seen=WHOLE_APP,
    ),
    Rule(
        "redis-cache-variants",
        "A put writes one entry; if its GET varies by more than the path, it evicts them all.",
        '@router.put("/products/{product_id}") ... -> Annotated[Product, CachePut()]'
        "  # and the GET takes ?language=",
        '@router.put("/products/{product_id}") ... -> '
        "Annotated[Product, CacheEvict(key=get_product)]",
        seen=WHOLE_APP,
    ),
    Rule(
        "redis-cache-strict",
        "Under REDIS_STRICT every other start-up warning is an error.",
        "async def read(request: Request) -> Annotated[Product, Cached(ttl=300)]",
        "async def read(request: Request) -> Annotated[Product, Cached(ttl=300, shared=True)]",
        seen="start-up with REDIS_STRICT",
    ),
)
