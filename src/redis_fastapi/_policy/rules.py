"""The rules for declarations: one table for registration, start-up and the type checker.

A rule takes facts and yields problems. Facts are plain data, and ``UNKNOWN`` stands for what the
caller cannot prove; a rule that needs an unknown fact stays silent. This module imports neither
FastAPI nor mypy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from math import inf
from typing import Final, NamedTuple, TypeGuard

from .templates import Field, Template


class Unknown:
    """Type of ``UNKNOWN``."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()

_LONGEST_TTL: Final = 100 * 366 * 24 * 60 * 60
"""Upper bound in seconds; a longer one is meant as no expiry, and Redis would refuse it."""

_NEVER_STORED: Final = frozenset({206, 304, 412, 416})
"""Parts, and answers to conditions and ranges."""

_DIRECTIVE: Final = re.compile(
    r"[!#$%&'*+.^_`|~\w-]+(?:=(?:[!#$%&'*+.^_`|~\w-]+|\"[^\"\\]*\"))?", re.A
)
_SAID_OTHERWISE: Final = {
    "max-age": "ttl",
    "s-maxage": "cdn_ttl",
    "private": "private",
    "immutable": "immutable",
    "stale-while-revalidate": "stale_while_revalidate",
    "stale-if-error": "stale_if_error",
    "no-cache": "leaving the marker out",
    "no-store": "leaving the marker out",
}
"""Directives that have an argument of their own."""

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})

SKIPPED_BY_A_HIT: Final = "@requires is part of the endpoint, which a hit does not run"
"""Message about Starlette's decorator."""

_EXAMPLES: Final = {
    "Cached": "Cached(ttl=300)",
    "CachePut": "CachePut(ttl=300)",
    "CacheEvict": "CacheEvict(group='products')",
}

_DEPENDENCIES: Final = {"Cached": "cache", "CachePut": "cache_put", "CacheEvict": "cache_evict"}


@dataclass(frozen=True, slots=True)
class MarkerFacts:
    """One marker: its name and its arguments, by name; an absent one has its default.

    ``lenient`` marks the dependency form, where a ttl of 0 means "no expiry" and text in braces
    that names no parameter is only text.
    """

    kind: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class PutFacts:
    """A ``CachePut`` and the GET whose entry it writes; None is "not known".

    ``reader`` names that GET; empty where no cached GET serves the path.
    """

    groups: tuple[str, ...] | None = ()
    reader: str | None = None
    reader_groups: tuple[str, ...] | None = None
    same_model: bool | None = None


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
    route_class: str = ""
    """Name of the class that made the route, where that is not FastAPI's own."""
    generator: bool | None = None
    form: bool | None = None
    secured_by: tuple[str, ...] | None = None
    """Parameters that receive something from a security scheme."""
    checked_by_requires: bool | None = None
    """Whether Starlette's ``@requires`` stands round the endpoint."""
    lacking: Mapping[str, str] = field(default_factory=dict)
    """Fields such as ``user.idd`` that their parameter's type cannot have, and why."""
    stream: str | None = None
    """Name of the return type where it is sent piece by piece."""
    response: bool = False
    """Whether that type is a response, which can be recorded while it is sent."""
    schemaless: str | None = None
    """Name of a class in the return type that pydantic cannot serialize."""
    put: PutFacts | None = None


class Problem(NamedTuple):
    """What is wrong, and the line to write instead."""

    code: str
    message: str
    fix: str
    marker: int | None = None
    argument: str | None = None
    fragment: str | None = None


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


def spell(facts: EndpointFacts, marker: MarkerFacts, **changes: object) -> str:
    """A declaration as source text, with some arguments changed; None drops one."""
    arguments = {**marker.arguments, **changes}
    shown = ", ".join(
        f"{name}={_spelt(value)}"
        for name, value in arguments.items()
        if value is not None and value != ()
    )
    if marker.lenient:
        return f"Depends({_DEPENDENCIES[marker.kind]}({shown}))"
    return f"-> Annotated[{facts.returns}, {marker.kind}({shown})]"


def _spelt(value: object) -> str:
    if isinstance(value, Unknown):
        return "..."
    return str(getattr(value, "__name__", repr(value))) if callable(value) else repr(value)


def names_of(value: object) -> tuple[str, ...]:
    """``group`` or ``vary`` as a tuple of strings; anything else is left out."""
    if isinstance(value, str):
        return (value,)
    return (
        tuple(item for item in value if isinstance(item, str)) if isinstance(value, tuple) else ()
    )


def seconds_of(ttl: object) -> float | None:
    """A ttl in seconds; None for anything else."""
    if isinstance(ttl, timedelta):
        return ttl.total_seconds()
    if isinstance(ttl, (int, float)) and not isinstance(ttl, bool):
        return float(ttl)
    return None


def closest(name: str, options: frozenset[str]) -> str | None:
    """The option that a misspelt name most likely means, or None."""
    found = get_close_matches(name, sorted(options), n=1)
    return found[0] if found else None


def _instances(facts: EndpointFacts) -> Iterator[Problem]:
    for name in facts.classes:
        yield Problem(
            "redis-cache-instance",
            f"{name} is the marker class, not an instance, and has no effect",
            f"-> Annotated[{facts.returns}, {_EXAMPLES.get(name, name)}]",
        )


def _places(facts: EndpointFacts) -> Iterator[Problem]:
    for name in facts.misplaced:
        yield Problem(
            "redis-cache-misplaced",
            f"{name} has no effect here; it belongs at the top level of the return annotation",
            f"-> Annotated[{facts.returns}, {_EXAMPLES.get(name, name)}]",
        )


def _values(facts: EndpointFacts) -> Iterator[Problem]:
    for index, marker in enumerate(facts.markers):
        yield from _ttl_problems(facts, index, marker)
        yield from _text_problems(facts, index, marker)
        yield from _kind_problems(facts, index, marker)
        yield from _emptiness(facts, index, marker)
        yield from _stale_problems(facts, index, marker)
        yield from _fraction_problems(facts, index, marker)
        yield from _status_problems(facts, index, marker)
        yield from _cdn_problems(facts, index, marker)
        yield from _directive_problems(facts, index, marker)


def _ttl_problems(facts: EndpointFacts, index: int, marker: MarkerFacts) -> Iterator[Problem]:
    ttl = marker.arguments.get("ttl")
    if ttl is None or isinstance(ttl, Unknown):
        return
    seconds = seconds_of(ttl)
    least = 0 if marker.lenient else 1
    if seconds is not None and least <= seconds <= _LONGEST_TTL:
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


def _stale_problems(facts: EndpointFacts, index: int, marker: MarkerFacts) -> Iterator[Problem]:
    unending = marker.arguments.get("ttl") in (None, 0)
    for argument in ("stale_while_revalidate", "stale_if_error"):
        value = marker.arguments.get(argument, 0)
        if isinstance(value, Unknown):
            continue
        seconds = seconds_of(value)
        if seconds is None or not 0 <= seconds <= _LONGEST_TTL:
            problem = f"{argument}={value!r} of {marker.kind} is not a time of 0 seconds or more"
            right = spell(facts, marker, **{argument: 60})
        elif seconds and unending:
            problem = (
                f"{argument}={value!r} of {marker.kind} starts when a lifetime ends, but there is "
                "no ttl"
            )
            right = spell(facts, marker, ttl=300)
        else:
            continue
        yield Problem("redis-cache-value", problem, right, index, argument)


def _fraction_problems(facts: EndpointFacts, index: int, marker: MarkerFacts) -> Iterator[Problem]:
    for argument, bound, right in (("beta", inf, 1.0), ("jitter", 1.0, 0.1)):
        value = marker.arguments.get(argument, 0.0)
        if isinstance(value, Unknown) or (_is_number(value) and 0 <= float(value) < bound):
            continue
        upper = "" if bound == inf else f" and below {bound:g}"
        yield Problem(
            "redis-cache-value",
            f"{argument}={value!r} of {marker.kind} is not a number from 0{upper}",
            spell(facts, marker, **{argument: right}),
            index,
            argument,
        )


def _status_problems(facts: EndpointFacts, index: int, marker: MarkerFacts) -> Iterator[Problem]:
    statuses = marker.arguments.get("statuses")
    if statuses is None or isinstance(statuses, Unknown):
        return
    if isinstance(statuses, Mapping) and all(
        _is_storable(status) and _is_lifetime(ttl) for status, ttl in statuses.items()
    ):
        return
    yield Problem(
        "redis-cache-value",
        f"statuses={statuses!r} of {marker.kind} does not give statuses that can be stored (not "
        "206, 304, 412, 416) a lifetime of at least one second each",
        spell(facts, marker, statuses={404: 10}),
        index,
        "statuses",
    )


def _is_storable(status: object) -> bool:
    known = isinstance(status, int) and not isinstance(status, bool)
    return known and status in range(200, 600) and status not in _NEVER_STORED


def _is_lifetime(ttl: object) -> bool:
    seconds = seconds_of(ttl)
    return seconds is not None and 1 <= seconds <= _LONGEST_TTL


def _cdn_problems(facts: EndpointFacts, index: int, marker: MarkerFacts) -> Iterator[Problem]:
    cdn_ttl = marker.arguments.get("cdn_ttl")
    if cdn_ttl is None or isinstance(cdn_ttl, Unknown) or _is_lifetime(cdn_ttl):
        return
    yield Problem(
        "redis-cache-value",
        f"cdn_ttl={cdn_ttl!r} of {marker.kind} is not a lifetime of at least one second",
        spell(facts, marker, cdn_ttl=3600),
        index,
        "cdn_ttl",
    )


def _directive_problems(facts: EndpointFacts, index: int, marker: MarkerFacts) -> Iterator[Problem]:
    directives = marker.arguments.get("directives", ())
    if isinstance(directives, Unknown):
        return
    listed = (directives,) if isinstance(directives, str) else directives
    for one in listed if isinstance(listed, tuple) else (listed,):
        wrong = _wrong_directive(one)
        if wrong is not None:
            yield Problem(
                "redis-cache-value",
                f"{one!r} in directives of {marker.kind} {wrong}",
                spell(facts, marker, directives="must-revalidate"),
                index,
                "directives",
            )


def _wrong_directive(directive: object) -> str | None:
    if not isinstance(directive, str) or not _DIRECTIVE.fullmatch(directive):
        return "is not a directive of Cache-Control"
    argument = _SAID_OTHERWISE.get(directive.partition("=")[0].lower())
    return None if argument is None else f"is said by {argument}"


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _placeholders(facts: EndpointFacts) -> Iterator[Problem]:
    for index, marker in enumerate(facts.markers):
        for argument in ("group", "key", "vary"):
            for text in names_of(marker.arguments.get(argument)):
                yield from _template_problems(facts, index, marker, argument, text)


def fields_of(marker: MarkerFacts) -> Iterator[Field]:
    """The fields of a marker's templates; malformed templates are left out."""
    for argument in ("group", "key", "vary"):
        for text in names_of(marker.arguments.get(argument)):
            try:
                yield from _fields(argument, text)
            except ValueError:
                continue


def _fields(argument: str, text: str) -> tuple[Field, ...]:
    """Fields of one text; raises ValueError where it is malformed."""
    return (Field.parse(text),) if argument == "vary" else Template.parse(text).fields


def _template_problems(
    facts: EndpointFacts, index: int, marker: MarkerFacts, argument: str, text: str
) -> Iterator[Problem]:
    if marker.lenient:
        return
    try:
        fields = _fields(argument, text)
    except ValueError as error:
        yield Problem(
            "redis-cache-placeholder",
            f"{argument}={text!r} of {marker.kind} is malformed: {error}",
            _spell_without(facts, marker, argument, text),
            index,
            argument,
        )
        return
    if facts.parameters is None:
        return
    for found in fields:
        if found.name not in facts.parameters:
            yield _unknown_parameter(facts, index, marker, argument, text, found)
        elif str(found) in facts.lacking:
            yield Problem(
                "redis-cache-placeholder",
                f"{argument}={text!r} of {marker.kind} names {str(found)!r}, "
                f"but {facts.lacking[str(found)]}",
                _spell_without(facts, marker, argument, text),
                index,
                argument,
                str(found),
            )


def _spell_without(facts: EndpointFacts, marker: MarkerFacts, argument: str, text: str) -> str:
    said = marker.arguments.get(argument)
    others = tuple(one for one in said if one != text) if isinstance(said, tuple) else ()
    changed: dict[str, object] = {argument: others}
    left = {**marker.arguments, **changed}
    if marker.kind == "CacheEvict" and not left.get("group") and not left.get("key"):
        changed["group"] = "products"
    return spell(facts, marker, **changed)


def _unknown_parameter(
    facts: EndpointFacts, index: int, marker: MarkerFacts, argument: str, text: str, found: Field
) -> Problem:
    meant = closest(found.name, facts.parameters or frozenset())
    hint = f"; did you mean {meant!r}?" if meant else ""
    brace = "" if argument == "vary" else "{"
    right = text.replace(f"{brace}{found.name}", f"{brace}{meant or 'PARAMETER'}", 1)
    said = marker.arguments.get(argument)
    better = (
        tuple(right if one == text else one for one in said) if isinstance(said, tuple) else right
    )
    return Problem(
        "redis-cache-placeholder",
        f"{argument}={text!r} of {marker.kind} names {found.name!r}, "
        f"which is not a parameter of {facts.name}{hint}",
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
                    f"{marker.kind} conflicts with {seen[0]}; an endpoint can have only one",
                    spell(facts, facts.markers[0]),
                    index,
                )
            seen.append(marker.kind)
        yield from _private_for_cdn(facts, index, marker)
        vary = marker.arguments.get("vary")
        if marker.arguments.get("shared") is True and vary and not isinstance(vary, Unknown):
            yield Problem(
                "redis-cache-conflict",
                "vary selects an entry per caller, but shared=True says that all callers share one",
                spell(facts, marker, shared=None),
                index,
                "shared",
            )


def _private_for_cdn(facts: EndpointFacts, index: int, marker: MarkerFacts) -> Iterator[Problem]:
    private, vary, cdn_ttl = (marker.arguments.get(name) for name in ("private", "vary", "cdn_ttl"))
    kept = "private" if private is True else "vary" if vary else ""
    if cdn_ttl and kept and not isinstance(vary, Unknown) and not isinstance(cdn_ttl, Unknown):
        yield Problem(
            "redis-cache-conflict",
            f"cdn_ttl is for shared caches, but {kept} keeps the response out of them",
            spell(facts, marker, cdn_ttl=None),
            index,
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
    for index, marker in enumerate(facts.markers):
        if marker.kind != "Cached" or marker.lenient or not facts.secured_by:
            continue
        if marker.arguments.get("vary") or marker.arguments.get("shared") is not None:
            continue
        who = facts.secured_by[0]
        # a class-based view holds its user
        user = "self.user" if who == "self" else who
        per_user = spell(facts, marker, vary=f"{user}.id")
        shared = spell(facts, marker, shared=True)
        yield Problem(
            "redis-cache-secured",
            f"parameter {who!r} comes from a security scheme, but nothing says whether "
            "the response depends on the user",
            f"{per_user}  # one entry per user\n       or: {shared}  # the same for every user",
            index,
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
        _values,
    ),
    Rule(
        "redis-cache-placeholder",
        "A placeholder must name a parameter of the endpoint, so that a rename is noticed.",
        '-> Annotated[Product, Cached(ttl=300, group="product:{id}")]',
        '-> Annotated[Product, Cached(ttl=300, group="product:{product_id}")]',
        _placeholders,
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
