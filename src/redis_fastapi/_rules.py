"""What a declaration may say: one table for registration, start-up and the type checker.

A rule takes facts and yields problems. Facts are plain data, and ``UNKNOWN`` stands for what the
caller cannot prove; a rule that needs an unknown fact stays silent. This module imports neither
FastAPI nor mypy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from typing import Final, NamedTuple

from ._templates import Field, Template


class Unknown:
    """Type of ``UNKNOWN``."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class MarkerFacts:
    """One marker: its name and its arguments, by name.

    ``lenient`` marks the dependency form, where a ttl of 0 means "no expiry" and text in braces
    that names no parameter is only text.
    """

    kind: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """One endpoint as far as it is known; None is "not known", for the type checker's sake."""

    name: str
    returns: str = "Product"
    markers: tuple[MarkerFacts, ...] = ()
    classes: tuple[str, ...] = ()
    misplaced: tuple[str, ...] = ()
    methods: frozenset[str] | None = None
    parameters: frozenset[str] | None = None
    cache_route: bool | None = None
    generator: bool | None = None
    form: bool | None = None
    secured_by: tuple[str, ...] | None = None
    """Parameters that receive something from a security scheme."""


class Problem(NamedTuple):
    """What is wrong and the line to write instead."""

    code: str
    message: str
    fix: str
    marker: int | None = None
    argument: str | None = None
    fragment: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its code, why it exists, a wrong and a right line, and the check itself."""

    code: str
    why: str
    wrong: str
    right: str
    check: Callable[[EndpointFacts], Iterator[Problem]]


def check(facts: EndpointFacts) -> Iterator[Problem]:
    """Every problem that the facts prove."""
    for rule in RULES:
        yield from rule.check(facts)


def spell(facts: EndpointFacts, marker: MarkerFacts, **changes: object) -> str:
    """A marker as source text in its place, with some arguments changed; None drops one."""
    arguments = {**marker.arguments, **changes}
    shown = []
    for name, value in arguments.items():
        if value in (None, (), False) or isinstance(value, Unknown):
            continue
        text = getattr(value, "__name__", repr(value)) if callable(value) else repr(value)
        shown.append(f"{name}={text}")
    call = f"{marker.kind}({', '.join(shown)})"
    return f"-> Annotated[{facts.returns}, {call}]"


def names_of(value: object) -> tuple[str, ...]:
    """``group`` and ``vary`` as a tuple of texts; what is not text is left out."""
    if isinstance(value, str):
        return (value,)
    return (
        tuple(item for item in value if isinstance(item, str)) if isinstance(value, tuple) else ()
    )


def seconds_of(ttl: object) -> float | None:
    """A ttl in seconds; None for what is not one."""
    if isinstance(ttl, timedelta):
        return ttl.total_seconds()
    if isinstance(ttl, (int, float)) and not isinstance(ttl, bool):
        return float(ttl)
    return None


def closest(name: str, options: frozenset[str]) -> str | None:
    """The option that a misspelt name most likely means."""
    found = get_close_matches(name, sorted(options), n=1)
    return found[0] if found else None


def _instances(facts: EndpointFacts) -> Iterator[Problem]:
    for name in facts.classes:
        yield Problem(
            "redis-cache-instance",
            f"{name} is the class, not a marker, and says nothing",
            f"-> Annotated[{facts.returns}, {name}(...)]",
        )


def _places(facts: EndpointFacts) -> Iterator[Problem]:
    for name in facts.misplaced:
        yield Problem(
            "redis-cache-misplaced",
            f"{name} stands where it has no effect; it belongs at the top of the return annotation",
            f"-> Annotated[{facts.returns}, {name}(...)]",
        )


def _values(facts: EndpointFacts) -> Iterator[Problem]:
    for index, marker in enumerate(facts.markers):
        yield from _ttl_problems(facts, index, marker)
        yield from _text_problems(facts, index, marker)
        yield from _kind_problems(facts, index, marker)
        yield from _emptiness(facts, index, marker)


def _ttl_problems(facts: EndpointFacts, index: int, marker: MarkerFacts) -> Iterator[Problem]:
    ttl = marker.arguments.get("ttl")
    if ttl is None or isinstance(ttl, Unknown):
        return
    seconds = seconds_of(ttl)
    least = 0 if marker.lenient else 1
    if seconds is not None and seconds >= least:
        return
    problem = f"ttl={ttl!r} of {marker.kind} is not a lifetime of at least one second"
    if seconds == 0:
        problem = f"ttl=0 of {marker.kind} is ambiguous: it could mean no caching or no expiry"
    yield Problem("redis-cache-value", problem, spell(facts, marker, ttl=300), index, "ttl")


def _text_problems(facts: EndpointFacts, index: int, marker: MarkerFacts) -> Iterator[Problem]:
    for argument in ("group", "vary"):
        value = marker.arguments.get(argument, ())
        if isinstance(value, Unknown) or (isinstance(value, str) and value):
            continue
        if isinstance(value, tuple) and all(isinstance(item, str) and item for item in value):
            continue
        if marker.lenient and value == "":
            continue
        yield Problem(
            "redis-cache-value",
            f"{argument}={value!r} of {marker.kind} is neither a name nor a tuple of names",
            spell(facts, marker, **{argument: ("products",) if argument == "group" else "user.id"}),
            index,
            argument,
        )


def _kind_problems(facts: EndpointFacts, index: int, marker: MarkerFacts) -> Iterator[Problem]:
    key = marker.arguments.get("key")
    path = isinstance(key, str) and key.startswith("/")
    if not (key is None or path or callable(key) or isinstance(key, Unknown)):
        yield Problem(
            "redis-cache-value",
            f"key={key!r} of {marker.kind} is neither a path from the root nor an endpoint",
            spell(facts, marker, key="/products/{product_id}"),
            index,
            "key",
        )
    when = marker.arguments.get("when")
    if not (when is None or callable(when) or isinstance(when, Unknown)):
        yield Problem(
            "redis-cache-value",
            f"when={when!r} of {marker.kind} cannot be called with what the endpoint returns",
            spell(facts, marker, when=None),
            index,
            "when",
        )


def _emptiness(facts: EndpointFacts, index: int, marker: MarkerFacts) -> Iterator[Problem]:
    if marker.kind != "CacheEvict" or marker.lenient:
        return
    if not marker.arguments.get("group") and marker.arguments.get("key") is None:
        yield Problem(
            "redis-cache-value",
            "CacheEvict names neither a group nor a key, so it evicts nothing",
            spell(facts, marker, group="products"),
            index,
        )


def _placeholders(facts: EndpointFacts) -> Iterator[Problem]:
    for index, marker in enumerate(facts.markers):
        for argument in ("group", "key", "vary"):
            for text in names_of(marker.arguments.get(argument)):
                yield from _template_problems(facts, index, marker, argument, text)


def _template_problems(
    facts: EndpointFacts, index: int, marker: MarkerFacts, argument: str, text: str
) -> Iterator[Problem]:
    if marker.lenient:
        return
    try:
        fields = (Field.parse(text),) if argument == "vary" else Template.parse(text).fields
    except ValueError as error:
        yield Problem(
            "redis-cache-placeholder",
            f"{argument}={text!r} of {marker.kind} is malformed: {error}",
            spell(facts, marker, **{argument: None}),
            index,
            argument,
        )
        return
    if facts.parameters is None:
        return
    for found in fields:
        if found.name not in facts.parameters:
            yield _unknown_parameter(facts, index, marker, argument, text, found)


def _unknown_parameter(
    facts: EndpointFacts, index: int, marker: MarkerFacts, argument: str, text: str, found: Field
) -> Problem:
    meant = closest(found.name, facts.parameters or frozenset())
    hint = f"; did you mean {meant!r}?" if meant else ""
    better = text.replace(found.name, meant or "PARAMETER", 1)
    return Problem(
        "redis-cache-placeholder",
        f"{argument}={text!r} of {marker.kind} names {found.name!r}, "
        f"which is no parameter of {facts.name}{hint}",
        spell(facts, marker, **{argument: better}),
        index,
        argument,
        str(found),
    )


def _methods(facts: EndpointFacts) -> Iterator[Problem]:
    if facts.methods is None:
        return
    for index, marker in enumerate(facts.markers):
        if marker.lenient:
            continue
        unsafe = sorted(facts.methods - SAFE_METHODS)
        if marker.kind == "Cached" and unsafe:
            yield Problem(
                "redis-cache-method",
                f"Cached on {', '.join(unsafe)}: only GET is answered from the cache",
                f"{spell(facts, MarkerFacts('CacheEvict', {'group': 'products'}))}"
                "  # or CachePut(...), on a write",
                index,
            )
        safe = sorted(facts.methods & SAFE_METHODS)
        if marker.kind == "CachePut" and safe:
            yield Problem(
                "redis-cache-method",
                f"CachePut on {', '.join(safe)}: it writes what a write's endpoint returns",
                spell(facts, MarkerFacts("Cached", {"ttl": 300})),
                index,
            )


def _conflicts(facts: EndpointFacts) -> Iterator[Problem]:
    seen: list[str] = []
    for index, marker in enumerate(facts.markers):
        if marker.kind != "CacheEvict" and not marker.lenient:
            if seen:
                yield Problem(
                    "redis-cache-conflict",
                    f"{marker.kind} stands beside {seen[0]}; an endpoint has one of them",
                    spell(facts, facts.markers[0]),
                    index,
                )
            seen.append(marker.kind)
        if marker.arguments.get("shared") is True and marker.arguments.get("vary"):
            yield Problem(
                "redis-cache-conflict",
                "vary selects an entry a caller, shared=True says that all callers share one",
                spell(facts, marker, shared=None),
                index,
                "shared",
            )


def _serializable(facts: EndpointFacts) -> Iterator[Problem]:
    stores = [marker for marker in facts.markers if marker.kind != "CacheEvict"]
    if facts.generator and stores:
        yield Problem(
            "redis-cache-serialize",
            f"{stores[0].kind} on a generator: a stream has no body that could be stored",
            f"async def {facts.name}(...) -> list[...]: ...  # or leave the marker out",
            facts.markers.index(stores[0]),
        )
    if facts.form and any(marker.kind == "Cached" for marker in stores):
        yield Problem(
            "redis-cache-serialize",
            "Cached on an endpoint that reads a form: a form cannot be part of the key",
            "take the values as query parameters",
        )


def _secured(facts: EndpointFacts) -> Iterator[Problem]:
    for index, marker in enumerate(facts.markers):
        if marker.kind != "Cached" or marker.lenient or not facts.secured_by:
            continue
        if marker.arguments.get("vary") or marker.arguments.get("shared") is not None:
            continue
        who = facts.secured_by[0]
        per_user = spell(facts, marker, vary=f"{who}.id")
        shared = spell(facts, marker, shared=True)
        yield Problem(
            "redis-cache-secured",
            f"parameter {who!r} comes from a security scheme, and nothing says whether "
            "the answer differs by who asks",
            f"{per_user}  # one entry a user\n       or: {shared}  # the same for everyone let in",
            index,
        )


def _routes(facts: EndpointFacts) -> Iterator[Problem]:
    if facts.cache_route is False and facts.markers:
        yield Problem(
            "redis-cache-route",
            f"{facts.markers[0].kind} has no effect: the route was not made by CacheRoute",
            "router = APIRouter(route_class=CacheRoute)  "
            "# for @app.get: FastAPIRedis(app).caching() before the endpoints",
        )


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
        "A lifetime is at least a second; names are texts; an eviction names something.",
        "-> Annotated[Product, Cached(ttl=0)]",
        "-> Annotated[Product, Cached(ttl=300)]",
        _values,
    ),
    Rule(
        "redis-cache-placeholder",
        "A placeholder names a parameter of the endpoint, so that renaming one is noticed.",
        '-> Annotated[Product, Cached(ttl=300, group="product:{id}")]',
        '-> Annotated[Product, Cached(ttl=300, group="product:{product_id}")]',
        _placeholders,
    ),
    Rule(
        "redis-cache-method",
        "Cached answers safe requests, CachePut stores the answer of a write.",
        '@router.post("/products") ... -> Annotated[Product, Cached(ttl=300)]',
        '@router.post("/products") ... -> Annotated[Product, CacheEvict(group="products")]',
        _methods,
    ),
    Rule(
        "redis-cache-conflict",
        "An endpoint is read from the cache or written through, under one policy.",
        "-> Annotated[Product, Cached(ttl=60), Cached(ttl=300)]",
        "-> Annotated[Product, Cached(ttl=300)]",
        _conflicts,
    ),
    Rule(
        "redis-cache-serialize",
        "Only a finished body can be stored and replayed.",
        "async def rows() -> Annotated[AsyncIterator[str], Cached(ttl=300)]: yield ...",
        "async def rows() -> Annotated[list[str], Cached(ttl=300)]: ...",
        _serializable,
    ),
    Rule(
        "redis-cache-secured",
        "What one user may see must not reach another; only the author knows whether it may.",
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
)
