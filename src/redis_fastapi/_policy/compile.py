"""From an endpoint's signature and declaration to its policy, once for each place it is served at.

What makes the key
- The path with its validated values names the resource; all its variants are evicted together.
- Declared query parameters, and the headers and cookies that the endpoint's parameters read
  (through their dependencies, too), select the variant. What is not declared cannot reach the
  response and is left out.
- ``vary`` or ``shared`` replaces the headers and cookies that dependencies read.
- What guards read does not select; it makes the response ``private`` downstream. The exception is
  the query parameters of a guard with `yield`: pagination libraries pass these on, so they select.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from itertools import chain
from typing import Annotated, Any

from fastapi.dependencies.models import Dependant
from pydantic import TypeAdapter

from .._http import Reason
from ..markers import Cached, CacheEvict, CachePut, Marker
from .declare import Declaration, Declared, label_of
from .facts import names_of, seconds_of
from .inputs import (
    EVERYTHING,
    NO_NAMES,
    Names,
    RouteInputs,
    credentials_of,
    route_inputs,
    tree_inputs,
    union,
)
from .overridden import Overrides, identity_of, overridden
from .policy import (
    Eviction,
    Key,
    Policy,
    Put,
    ReadPolicy,
    Selectors,
    Staleness,
    WritePolicy,
    has_simple_text,
)
from .resource import PathParameter, ResourceTemplate
from .rules import READ_METHODS, SKIPPED_BY_A_HIT
from .signature import is_checked_by_requires
from .templates import Field, Template, text_of


@dataclass(frozen=True, slots=True)
class RouteFacts:
    """What a policy needs to know of its route.

    Attributes:
        path: The path template with all prefixes within the application, without mounts.
        methods: Methods that the route serves.
        dependant: The dependencies in force, including those of routers and inclusions.
        slashes: Path parameters that may contain slashes.
        model: Returns a text that changes with the response model's schema; called on first use.
        modelled: Whether there is a response model.
        status: Status code of a successful response.
        invalidates: Whether a write evicts the paths that its response names.
    """

    path: str
    methods: frozenset[str]
    dependant: Dependant
    slashes: frozenset[str]
    model: Callable[[], str]
    modelled: bool
    status: int
    invalidates: bool = False


def compile_policy(declaration: Declaration, route: RouteFacts) -> Policy:
    """Compile a checked declaration for one route."""
    readers, puts, evictions = _sorted_by_kind(declaration, route)
    label = label_of(route.methods, route.path, declaration.name)
    read, write = None, None
    warnings: list[str] = []
    if readers:
        inputs = route_inputs(route.dependant)
        read = _read_policy(label, declaration, readers[-1], inputs, route)
        warnings += _read_warnings(read, readers[-1], _opaque(declaration, inputs), inputs)
        if is_checked_by_requires(declaration.endpoint):
            warnings.append(f"{label}: {SKIPPED_BY_A_HIT}. Check the same by a dependency")
    if puts or evictions:
        write = _write_policy(label, puts, evictions, route)
    return Policy(declaration.endpoint, read, write, tuple(warnings))


def policy_under(
    overrides: Overrides, policy: Policy, declaration: Declaration, route: RouteFacts
) -> Policy:
    """The policy while an application's dependencies are overridden."""
    found = overridden(route.dependant, overrides)
    reader = _sorted_by_kind(declaration, route)[0][-1:]
    if not found.by or not reader or _declares_dependence(reader[0].marker):
        return policy
    read = compile_policy(declaration, replace(route, dependant=found.dependant)).read
    assert read is not None
    names = " ".join(map(identity_of, found.by))
    return replace(policy, read=replace(read, origin=f"{read.origin} {names}"))


def _sorted_by_kind(
    declaration: Declaration, route: RouteFacts
) -> tuple[list[Declared], list[Declared], list[Declared]]:
    readers, puts, evictions = [], [], []
    for declared in declaration.declared:
        if isinstance(declared.marker, Cached):
            # a router-wide cache() does not apply to that router's writes
            if "GET" in route.methods:
                readers.append(declared)
        elif isinstance(declared.marker, CachePut):
            if route.methods - READ_METHODS:
                puts.append(declared)
        else:
            evictions.append(declared)
    return readers, puts, evictions


def _read_policy(
    label: str,
    declaration: Declaration,
    declared: Declared,
    inputs: RouteInputs,
    route: RouteFacts,
) -> ReadPolicy:
    marker = declared.marker
    assert isinstance(marker, Cached)
    selectors, uncacheable = _selectors(marker, declared, declaration, inputs)
    selectors = replace(selectors, path=_textual_path_params(route))
    return ReadPolicy(
        label=label,
        template=ResourceTemplate.parse(route.path, route.slashes),
        parameters=_path_parameters(route),
        key=_key(marker.key),
        key_builder=declared.own_key_builder,
        prefix=declared.prefix,
        selectors=selectors,
        groups=tuple(_group_template(text, declared) for text in names_of(marker.group) if text),
        ttl=ttl_seconds(marker.ttl),
        private=_is_private(marker, inputs) or "cookie" in selectors.names.headers,
        per_user=_is_per_user(selectors, inputs),
        vary=_announced(marker, inputs, selectors),
        when=marker.when,
        uncacheable=uncacheable,
        status=route.status,
        model=route.model,
        origin=_origin(declaration.endpoint),
        local=marker.local,
        single_flight=marker.single_flight,
        staleness=_staleness(marker),
        statuses=_statuses(marker),
        cdn_ttl=ttl_seconds(marker.cdn_ttl),
        immutable=marker.immutable,
        directives=names_of(marker.directives),
    )


def _staleness(marker: Cached) -> Staleness:
    return Staleness(
        _milliseconds(marker.stale_while_revalidate),
        _milliseconds(marker.stale_if_error),
        marker.beta,
        marker.jitter,
    )


def _milliseconds(duration: int | timedelta) -> int:
    return round((seconds_of(duration) or 0) * 1_000)


def _statuses(marker: Cached) -> dict[int, int]:
    lifetimes = {status: ttl_seconds(ttl) for status, ttl in (marker.statuses or {}).items()}
    return {status: seconds for status, seconds in lifetimes.items() if seconds is not None}


def _origin(endpoint: Callable[..., Any]) -> str:
    named = endpoint if hasattr(endpoint, "__qualname__") else type(endpoint)
    return f"{named.__module__}.{named.__qualname__}"


_ANYTHING = Names(query=(EVERYTHING,), headers=("authorization", "cookie", "host"))
"""Selectors for a callable that takes the whole request: where requests usually differ."""


def _opaque(declaration: Declaration, inputs: RouteInputs) -> tuple[str, ...]:
    """Names of the callables that take the whole request."""
    own = (declaration.name,) if declaration.takes_request else ()
    outer = (f"what wraps {declaration.name}",) if declaration.rewrapped else ()
    return (*own, *outer, *inputs.received.opaque)


def _selectors(
    marker: Cached, declared: Declared, declaration: Declaration, inputs: RouteInputs
) -> tuple[Selectors, Reason | None]:
    """What selects the variant, and the reason why nothing may be stored, if there is one."""
    own, received, schemes = inputs.own.names, inputs.received.names, inputs.received.schemes
    is_declared = _declares_dependence(marker)
    own_query, query = inputs.own_query, Names(query=received.plus(inputs.lasting).query)
    if _opaque(declaration, inputs) and not is_declared:
        query = _ANYTHING
        # a guard may leave what it found in the state of the request
        received, schemes = received.plus(inputs.guards.names), (*schemes, *inputs.guards.schemes)
    if declared.own_key_builder is not None:
        own_query, query = (), query._replace(query=())
    names = query.plus(Names(headers=own.headers, cookies=own.cookies))
    uncacheable = Reason.FORM if inputs.own.form or inputs.received.form else None
    if not is_declared:
        credentials = credentials_of(schemes)
        if credentials is None:
            uncacheable = Reason.UNKNOWN_SECURITY_SCHEME
        names = names.plus(received._replace(query=())).plus(credentials or NO_NAMES)
    vary = tuple(Field.parse(text) for text in names_of(marker.vary))
    body = inputs.own.body or inputs.received.body
    return Selectors(own_query, names, vary=vary, body=body), uncacheable


def _declares_dependence(marker: Marker) -> bool:
    """Whether the author declares how the response depends on what dependencies read."""
    return isinstance(marker, Cached) and (bool(marker.vary) or marker.shared is True)


def _is_private(marker: Cached, inputs: RouteInputs) -> bool:
    received, guards, own = inputs.received, inputs.guards, inputs.own
    gated = received.schemes or guards.schemes or guards.names.headers or guards.names.cookies
    # a guard that takes the request may read a session
    gated = gated or guards.opaque
    cookies = own.names.cookies or received.names.cookies
    authorization = _CREDENTIALS.intersection((*own.names.headers, *received.names.headers))
    return bool(marker.private or marker.vary or gated or cookies or authorization)


_CREDENTIALS = frozenset({"authorization", EVERYTHING})
"""Headers that distinguish users, as far as their names show."""


def _is_per_user(selectors: Selectors, inputs: RouteInputs) -> bool:
    """Whether the key contains what distinguishes users."""
    names = selectors.names
    if selectors.vary or names.cookies or _CREDENTIALS.intersection(names.headers):
        return True
    credentials = credentials_of(inputs.received.schemes) or NO_NAMES
    return bool(set(credentials.headers) & set(selectors.names.headers)) or bool(
        set(credentials.query) & set(selectors.names.query)
    )


def _announced(marker: Cached, inputs: RouteInputs, selectors: Selectors) -> tuple[str, ...]:
    """Header names for ``Vary``, or ``*`` if every field selects (RFC 9110 section 12.5.5)."""
    names = inputs.own.names.plus(selectors.names)
    if marker.shared is not True:
        names = names.plus(inputs.received.names)
        names = names.plus(credentials_of(inputs.received.schemes) or NO_NAMES)
    if EVERYTHING in names.headers:
        return (EVERYTHING,)
    cookie = ("cookie",) if names.cookies else ()
    # a header model accepts either spelling
    twice = {name for name in names.headers if "_" in name and _hyphened(name) in names.headers}
    listed = set(names.headers) - twice
    return tuple(sorted({*listed, *cookie} - {"host"}))


def _hyphened(name: str) -> str:
    return name.replace("_", "-")


def _read_warnings(
    read: ReadPolicy, declared: Declared, opaque: tuple[str, ...], inputs: RouteInputs
) -> Iterator[str]:
    marker = declared.marker
    assert isinstance(marker, Cached)
    is_declared = marker.vary or marker.shared is not None
    if read.uncacheable:
        yield f"{read.label}: never stored ({read.uncacheable.value})"
    if opaque and not is_declared:
        who = ", ".join(opaque)
        yield (
            f"{read.label}: {who} takes the whole Request, so anything in it may reach the "
            "response; the key holds the query, Host, Authorization and Cookie. Say vary=(...) or "
            "shared=True"
        )
    passing = sorted(set(inputs.guards.names.query) - set(inputs.lasting.query))
    if passing:
        yield (
            f"{read.label}: a guard reads the query parameter {', '.join(passing)}, which selects "
            "none; where its value reaches the endpoint (by a context variable, say), receive it "
            "as a parameter"
        )
    lasting = (*inputs.lasting.headers, *inputs.lasting.cookies)
    if lasting and not is_declared:
        yield (
            f"{read.label}: a guard with yield reads {', '.join(lasting)}, which selects nothing; "
            "where that reaches the endpoint (by a context variable, say), receive it as a "
            "parameter. Where it does not, say shared=True"
        )
    if inputs.received.schemes and not is_declared:
        yield (
            f"{read.label}: behind a security scheme, and keyed by the credentials it reads. "
            'Say vary="user.id" for one entry a user, or shared=True for one for all'
        )


def _write_policy(
    label: str,
    puts: list[Declared],
    evictions: list[Declared],
    route: RouteFacts,
) -> WritePolicy:
    everything = union(map(tree_inputs, route.dependant.dependencies))
    return WritePolicy(
        label=label,
        put=_put(puts[-1]) if puts else None,
        evictions=tuple(_eviction(declared) for declared in evictions),
        late_cleanup=everything.generators,
        model=route.model,
        modelled=route.modelled,
        invalidates=route.invalidates,
        preconditions=any(_has_preconditions(one) for one in (*puts, *evictions)),
    )


def _has_preconditions(declared: Declared) -> bool:
    return isinstance(declared.marker, (CachePut, CacheEvict)) and declared.marker.preconditions


def _put(declared: Declared) -> Put:
    marker = declared.marker
    assert isinstance(marker, CachePut)
    return Put(
        key=_key(marker.key),
        key_builder=declared.own_key_builder,
        prefix=declared.prefix,
        groups=tuple(text for text in names_of(marker.group) if text),
        ttl=ttl_seconds(marker.ttl),
        when=marker.when,
        by_dependency=declared.by_dependency,
        strict=marker.strict,
    )


def _eviction(declared: Declared) -> Eviction:
    marker = declared.marker
    assert isinstance(marker, CacheEvict)
    named = _named(declared, marker)
    return replace(named, when=marker.when, strict=marker.strict, soft=marker.soft)


def _named(declared: Declared, marker: CacheEvict) -> Eviction:
    groups = tuple(_group_template(text, declared) for text in names_of(marker.group) if text)
    if not declared.by_dependency:
        return Eviction(groups=groups, key=_key(marker.key))
    if declared.key_builder is None:
        return Eviction(groups=groups, everything=not groups)
    builder = declared.own_key_builder
    return Eviction(
        own_path=builder is None,
        key_builder=builder,
        builder_group=groups[0].text if groups else "",
        prefix=declared.prefix,
    )


def ttl_seconds(ttl: object) -> int | None:
    """A lifetime in whole seconds, rounded up; None stays None."""
    seconds = seconds_of(ttl)
    return None if seconds is None else -int(-seconds // 1)


def _key(key: object) -> Key:
    if isinstance(key, str):
        return ResourceTemplate.parse(key)
    return key if callable(key) else None


def _group_template(text: str, declared: Declared) -> Template:
    return Template.literal(text) if declared.by_dependency else Template.parse(text)


def _path_parameters(route: RouteFacts) -> tuple[PathParameter, ...]:
    declared = {parameter.alias: parameter for parameter in _all_path_params(route.dependant)}
    names = [field.name for field in ResourceTemplate.parse(route.path).template.fields]
    return tuple(PathParameter(name, _parser(declared.get(name))) for name in names)


def _textual_path_params(route: RouteFacts) -> tuple[str, ...]:
    """Path parameters that select by their raw text.

    These are the ones declared with different types, whose text "01" and number 1 may both reach
    the response, and the ones from an outer host or mount, which are not in the route's path.
    """
    dependant, kinds = route.dependant, dict[str, list[Any]]()
    inside = {field.name for field in ResourceTemplate.parse(route.path).template.fields}
    below = [_all_path_params(one) for one in dependant.dependencies if one.name is not None]
    for parameter in chain(dependant.path_params, *below):
        found = kinds.setdefault(parameter.alias, [])
        if parameter.field_info.annotation not in found:
            found.append(parameter.field_info.annotation)
    return tuple(name for name, seen in kinds.items() if len(seen) > 1 or name not in inside)


def _all_path_params(dependant: Dependant) -> Iterator[Any]:
    """Path parameters of a dependency tree, the endpoint's own last so that they win."""
    for below in dependant.dependencies:
        yield from _all_path_params(below)
    yield from dependant.path_params


def _parser(parameter: Any) -> Callable[[object], object]:
    """A validator like FastAPI's, raising ValueError; an undeclared parameter is its text."""
    if parameter is None:
        return str
    info = parameter.field_info
    annotated: Any = Annotated[info.annotation, info]
    adapter: TypeAdapter[object] = TypeAdapter(annotated)
    return partial(_canonical, adapter.validator.validate_python)


def _canonical(validate: Callable[[object], object], text: object) -> object:
    """The validated value, or the raw text if the value cannot be recovered from its own text.

    All secrets, for example, have the same text.
    """
    value = validate(text)
    if has_simple_text(value):
        return value
    try:
        return value if validate(text_of(value)) == value else text
    except ValueError:
        return text
