"""What one application serves: which path is read by which policy.

Paths are written from the root of the application, the prefixes of routers and mounts included,
whichever way the FastAPI release keeps its included routers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Host, Mount, compile_path

from . import _rules
from ._declare import KeyBuilder, declaration_error, declare, label_of
from ._overview import Overview, Place
from ._policy import Policy, Put, ReadPolicy, WritePolicy
from ._reads import hands_out_cache
from ._resource import ResourceTemplate, mount_text, quoted_mount
from ._rules import Finding, Problem, PutFacts, check, finding
from ._signature import resolve_signature
from .exceptions import CacheDeclarationError


@runtime_checkable
class PolicyRoute(Protocol):
    """A route that compiled its declaration."""

    author_endpoint: Callable[..., Any]

    def policy_for(self, dependant: Dependant) -> Policy | None:
        """The policy under these effective dependencies."""


@dataclass(frozen=True, slots=True)
class Served:
    """One route at one of its places.

    Attributes:
        path: Its full path template.
        mount: The part of it that mounts contribute.
        methods: Its methods.
        endpoint: The function as its author wrote it.
        policy: What it does with the cache, or None.
        route: The route object.
    """

    path: str
    mount: str
    methods: frozenset[str]
    endpoint: Callable[..., Any]
    policy: Policy | None
    route: APIRoute


def applications(app: FastAPI) -> Iterator[FastAPI]:
    """The application, and those mounted in it, each with an OpenAPI document and overrides of its
    own.
    """
    yield app
    for route in app.routes:
        if isinstance(route, Mount) and isinstance(route.app, FastAPI):
            yield from applications(route.app)


class HasRoutes(Protocol):
    """An application, a router or a mount."""

    @property
    def routes(self) -> Sequence[BaseRoute]: ...


Routes = list[tuple[HasRoutes, list[BaseRoute]]]
"""The routes of an application and of all below it, as they were."""


def included_router(route: BaseRoute | None) -> APIRouter | None:
    """The router that a route includes, as FastAPI keeps that from 0.137 on."""
    router: APIRouter | None = getattr(route, "original_router", None)
    return router


def routes_of(owner: HasRoutes) -> Routes:
    """The routes as they are."""
    found: Routes = [(owner, list(owner.routes))]
    for route in owner.routes:
        below = route if isinstance(route, (Mount, Host)) else included_router(route)
        if below is not None:
            found += routes_of(below)
    return found


def have_changed(routes: Routes) -> bool:
    """Whether some were added, taken away or exchanged."""
    return any(owner.routes != known for owner, known in routes)


def served_by(routes: Iterable[BaseRoute], mount: str = "") -> Iterator[Served]:
    """Every API route below these, at every place it is included."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield _served(route, route.path, route.methods, route.dependant, mount)
        elif isinstance(route, Mount):
            yield from served_by(route.routes, mount + route.path)
        elif isinstance(route, Host):
            yield from served_by(route.routes, mount)
        elif hasattr(route, "effective_route_contexts"):
            yield from _included(route.effective_route_contexts(), mount)


def _included(contexts: Iterable[Any], mount: str) -> Iterator[Served]:
    """Routes of an included router, as FastAPI keeps them from 0.137 on."""
    for context in contexts:
        route = context.original_route
        if isinstance(route, APIRoute):
            yield _served(route, context.path, context.methods, context.dependant, mount)
        elif context.starlette_route is not None:
            yield from served_by([context.starlette_route], mount)


def _served(
    route: APIRoute, path: str, methods: Iterable[str] | None, dependant: Dependant, mount: str
) -> Served:
    endpoint, policy = route.endpoint, None
    if isinstance(route, PolicyRoute):
        endpoint, policy = route.author_endpoint, route.policy_for(dependant)
    return Served(mount + path, mount, frozenset(methods or ()), endpoint, policy, route)


class Reader:
    """A GET that is answered from the cache, found by the paths it serves."""

    def __init__(self, served: Served, policy: ReadPolicy) -> None:
        self.served = served
        self.policy = policy
        self.pattern = ResourceTemplate.parse(served.path).pattern
        self._regex, _, self._convertors = compile_path(served.path)
        self._mount = ResourceTemplate.parse(served.mount)

    def resource(self, path: str, above: str = "") -> str | None:
        """The resource it reads at a path, or None where it does not serve that path.

        Args:
            path: From the root of what is registered.
            above: Where that is mounted itself.
        """
        found = self._regex.match(path)
        if found is None:
            return None
        texts = found.groupdict()
        path_params = {name: self._convertors[name].convert(text) for name, text in texts.items()}
        try:
            mount = quoted_mount(above + self._mount.spell(path_params))
            return self.policy.resource_at(path_params, mount)
        except ValueError:
            return None


def _spelt(mount: str, path_params: Mapping[str, Any]) -> str | None:
    """A mount as a request spells it; None where that did not come through it."""
    try:
        return ResourceTemplate.parse(mount).spell(path_params)
    except KeyError:
        return None


class Registry:
    """Readers of an application by path, by endpoint and by key builder."""

    def __init__(self, served: Iterable[Served]) -> None:
        self.served = tuple(served)
        self._readers = tuple(
            Reader(one, one.policy.read)
            for one in self.served
            if one.policy is not None and one.policy.read is not None
        )
        self._above = ""

    def below(self, mount: str) -> Registry:
        """The same where all of it is mounted at a path that it does not know of."""
        mounted = copy(self)
        mounted._above = mount
        return mounted

    def above(self, policy: ReadPolicy | WritePolicy, scope: Mapping[str, Any]) -> str:
        """Where all of it is mounted, as far as a request tells that came to this policy."""
        mount = mount_text(scope)
        own = [
            _spelt(one.mount, scope["path_params"])
            for one in (self.served if mount else ())
            if one.policy is not None and (one.policy.read is policy or one.policy.write is policy)
        ]
        ends = [one for one in own if one is not None and mount.endswith(one)]
        return mount.removesuffix(max(ends, key=len, default=mount))

    def reader_at(self, path: str, prefix: str = "") -> tuple[ReadPolicy, str] | None:
        """The policy that reads a path, and the resource it reads there."""
        for policy, resource in self._reading(path, prefix):
            return policy, resource
        return None

    def resources_at(self, path: str, prefix: str = "") -> tuple[str, ...]:
        """The resources that are read at a path."""
        return tuple(resource for _, resource in self._reading(path, prefix))

    def _reading(self, path: str, prefix: str) -> Iterator[tuple[ReadPolicy, str]]:
        above = self._above
        if above and path.startswith(f"{above}/"):
            path = path[len(above) :]
        for reader in self._readers:
            policy = reader.policy
            if policy.key is not None or policy.key_builder is not None:
                continue
            resource = reader.resource(path, above) if policy.prefix == prefix else None
            if resource is not None:
                yield policy, resource

    def reader_of(
        self, target: ResourceTemplate | Callable[..., Any], prefix: str
    ) -> ReadPolicy | None:
        """The policy that reads the paths of a template, or that of an endpoint."""
        for reader in self._readers:
            if isinstance(target, ResourceTemplate):
                meant = reader.pattern == target.pattern and reader.policy.key is None
            else:
                meant = reader.served.endpoint == target
            if meant and reader.policy.prefix == prefix:
                return reader.policy
        return None

    def reader_by(self, builder: KeyBuilder, prefix: str) -> ReadPolicy | None:
        """The policy whose resources a key builder names, where there is exactly one such."""
        found = {
            reader.policy.shape: reader.policy
            for reader in self._readers
            if reader.policy.key_builder is builder and reader.policy.prefix == prefix
        }
        return next(iter(found.values())) if len(found) == 1 else None

    def paths_of(self, endpoint: Callable[..., Any]) -> tuple[ResourceTemplate, ...]:
        """The full path templates at which an endpoint is served."""
        return tuple(ResourceTemplate.parse(one.path) for one in self.places_of(endpoint))

    def places_of(self, endpoint: Callable[..., Any]) -> tuple[Served, ...]:
        """The routes that serve an endpoint."""
        return tuple(one for one in self.served if one.endpoint == endpoint)

    def spell(self, endpoint: Callable[..., Any], values: Mapping[str, object]) -> tuple[str, ...]:
        """The paths of an endpoint for these values; raises KeyError for a missing one."""
        return tuple(template.spell(values) for template in self.paths_of(endpoint))


class Checked(NamedTuple):
    """What is wrong with an application, and what is doubtful.

    Attributes:
        errors: What no start accepts.
        findings: What breaks a rule of the whole application; to a start only a warning.
        warnings: What is doubtful about one route, its label first.
    """

    errors: list[CacheDeclarationError]
    findings: list[Finding]
    warnings: list[str]

    def found(self) -> list[CacheDeclarationError]:
        """The findings as errors."""
        return [declaration_error(one.problem, one.route) for one in self.findings]


def check_routes(registry: Registry, *, default_ttl: int = 0) -> Checked:
    """Hold the routes of an application against each other.

    ``default_ttl`` is in seconds, 0 being no expiry.
    """
    errors: list[CacheDeclarationError] = []
    findings: list[Finding] = []
    warnings: list[str] = []
    for served in registry.served:
        if not isinstance(served.route, PolicyRoute):
            errors += _unread_markers(served)
        elif served.policy is not None:
            warnings += served.policy.warnings
            if served.policy.write is not None:
                errors += _eviction_errors(served, served.policy.write, registry)
                _check_put(served, served.policy.write, registry, errors, findings, warnings)
                warnings += _precondition_warnings(served, served.policy.write, registry)
    findings += _overview(registry, default_ttl).findings()
    return Checked(errors, findings, warnings)


def _precondition_warnings(served: Served, write: WritePolicy, registry: Registry) -> Iterator[str]:
    if write.preconditions and registry.reader_of(ResourceTemplate.parse(served.path), "") is None:
        yield (
            f"{write.label}: preconditions=True, and no cached GET serves its path, so nothing "
            "tells clients an ETag to send. Cache that GET, or leave it out"
        )


def _overview(registry: Registry, default_ttl: int) -> Overview:
    places = tuple(
        Place(one.path, one.endpoint, one.policy)
        for one in registry.served
        if one.policy is not None
    )
    by_hand = any(hands_out_cache(one.route.dependant) for one in registry.served)
    return Overview(places, default_ttl, by_hand)


def _unread_markers(served: Served) -> Iterator[CacheDeclarationError]:
    declaration = declare(served.endpoint)
    kind = type(served.route)
    own = "" if kind is APIRoute else kind.__name__
    facts = declaration.facts(served.methods, cache_route=False, route_class=own)
    for problem in check(facts):
        if problem.code in ("redis-cache-route", "redis-cache-misplaced", "redis-cache-instance"):
            yield declaration_error(problem, _label(served))


def _eviction_errors(
    served: Served, write: WritePolicy, registry: Registry
) -> Iterator[CacheDeclarationError]:
    for eviction in write.evictions:
        if not callable(eviction.key):
            continue
        templates = registry.paths_of(eviction.key)
        name = getattr(eviction.key, "__name__", repr(eviction.key))
        if not templates:
            yield CacheDeclarationError(
                code="redis-cache-key",
                route=write.label,
                problem=f"key={name} names an endpoint that this application does not serve",
                fix='CacheEvict(key="/path/as/a/client/writes/it")',
            )
        if any(_is_named_by_builder(place) for place in registry.places_of(eviction.key)):
            yield CacheDeclarationError(
                code="redis-cache-key",
                route=write.label,
                problem=f"a key builder names the resources of {name}, so its path tells nothing",
                fix="Depends(cache_evict(key_builder=...)) with the same key builder, or a group",
            )
        yield from _missing_errors("CacheEvict", eviction.key, served, write, registry)
    if write.put is not None and callable(write.put.key):
        yield from _missing_errors("CachePut", write.put.key, served, write, registry)


def _is_named_by_builder(served: Served) -> bool:
    read = served.policy.read if served.policy is not None else None
    return read is not None and read.key_builder is not None


def _missing_errors(
    kind: str, key: Callable[..., Any], served: Served, write: WritePolicy, registry: Registry
) -> Iterator[CacheDeclarationError]:
    templates = registry.paths_of(key)
    name = getattr(key, "__name__", repr(key))
    for missing in sorted(_missing(templates, served)):
        yield CacheDeclarationError(
            code="redis-cache-key",
            route=write.label,
            problem=f"the path of {name} needs {missing!r}, no parameter of this endpoint",
            fix=f"add {missing!r} to the parameters, or name the path: "
            f'{kind}(key="{templates[0].template.text}")',
        )


def _missing(templates: tuple[ResourceTemplate, ...], served: Served) -> set[str]:
    parameters = set(resolve_signature(served.endpoint).parameters)
    return {field.name for one in templates for field in one.template.fields} - parameters


def _check_put(
    served: Served,
    write: WritePolicy,
    registry: Registry,
    errors: list[CacheDeclarationError],
    findings: list[Finding],
    warnings: list[str],
) -> None:
    """A put writes what its GET reads, so both must agree on what that is."""
    put = write.put
    if put is None:
        return
    reader = _reader_of(put, served, registry)
    problem = put_problem(put, write, reader)
    if problem is not None and put.by_dependency:
        warnings.append(f"{write.label}: {problem.message}; it evicts instead")
    elif problem is not None:
        errors.append(declaration_error(problem, write.label))
    elif reader is not None and reader.selectors:
        message = (
            f"{reader.label} varies by more than its path, so the put evicts its variants instead "
            "of writing one"
        )
        findings.append(finding("redis-cache-variants", write.label, message))
    elif reader is not None and (undone := _groups_of(reader) & _evicted_groups(write)):
        warnings.append(
            f"{write.label}: evicts group {min(undone)!r} after its put, and so what it has just "
            f"written: {reader.label} is in that group"
        )


def _groups_of(reader: ReadPolicy) -> set[str]:
    return {template.text for template in reader.groups}


def _evicted_groups(write: WritePolicy) -> set[str]:
    return {template.text for eviction in write.evictions for template in eviction.groups}


def _reader_of(put: Put, served: Served, registry: Registry) -> ReadPolicy | None:
    if put.key_builder is not None:
        return registry.reader_by(put.key_builder, put.prefix)
    template = put.key or ResourceTemplate.parse(served.path)
    return registry.reader_of(template, put.prefix)


_NO_ONE_READER: Final = Problem(
    "redis-cache-put",
    "its key builder is that of no cached GET or of several, so which entry it writes is not known",
    "cache_put(key_builder=...) with a key builder that one GET has",
)


def put_problem(put: Put, write: WritePolicy, reader: ReadPolicy | None) -> Problem | None:
    """Why a put cannot write the entry of this GET; its models and groups must agree."""
    if reader is None and put.key_builder is not None:
        return _NO_ONE_READER
    if reader is None:
        return _rules.put_problem(PutFacts(reader=""))
    groups = tuple(template.text for template in reader.groups)
    same = write.model() == reader.model()
    return _rules.put_problem(PutFacts(put.groups, reader.label, groups, same))


def _label(served: Served) -> str:
    name = getattr(served.endpoint, "__name__", repr(served.endpoint))
    return label_of(served.methods, served.path, name)
