"""What an application serves: which path is read by which policy.

Paths are relative to the root of the application, and include the prefixes of routers and mounts,
however the FastAPI release represents included routers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from fastapi import APIRouter, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Host, Mount, compile_path

from .._policy.declare import KeyBuilder
from .._policy.policy import Policy, ReadPolicy, WritePolicy
from .._policy.resource import ResourceTemplate, mount_text, quoted_mount


@runtime_checkable
class PolicyRoute(Protocol):
    """A route that has compiled its declaration."""

    author_endpoint: Callable[..., Any]

    def policy_for(self, dependant: Dependant) -> Policy | None:
        """The policy under these effective dependencies."""


@dataclass(frozen=True, slots=True)
class Served:
    """One route at one of the places where it is served.

    Attributes:
        path: Its full path template.
        mount: The part of it that mounts contribute.
        host: The host that a `Host` route requires; empty for any.
        methods: Its methods.
        endpoint: The user's function.
        policy: Its cache policy, or None.
        route: The route object.
    """

    path: str
    mount: str
    host: str
    methods: frozenset[str]
    endpoint: Callable[..., Any]
    policy: Policy | None
    route: APIRoute

    @property
    def read(self) -> ReadPolicy | None:
        """What its requests read, or None."""
        return self.policy.read if self.policy is not None else None

    @property
    def write(self) -> WritePolicy | None:
        """What its requests write and evict, or None."""
        return self.policy.write if self.policy is not None else None


def applications(app: FastAPI) -> Iterator[FastAPI]:
    """The application and those mounted in it; each has its own OpenAPI document and overrides."""
    yield app
    for route in app.routes:
        if isinstance(route, Mount) and isinstance(route.app, FastAPI):
            yield from applications(route.app)


class HasRoutes(Protocol):
    """An application, a router or a mount."""

    @property
    def routes(self) -> Sequence[BaseRoute]: ...


Routes = list[tuple[HasRoutes, list[BaseRoute]]]
"""The routes of an application, of its mounts and of its included routers, as copied lists."""


def included_router(route: BaseRoute | None) -> APIRouter | None:
    """The router that a route includes, as represented by FastAPI from 0.137 on."""
    router: APIRouter | None = getattr(route, "original_router", None)
    return router


def routes_of(owner: HasRoutes) -> Routes:
    """The current routes."""
    found: Routes = [(owner, list(owner.routes))]
    for route in owner.routes:
        below = route if isinstance(route, (Mount, Host)) else included_router(route)
        if below is not None:
            found += routes_of(below)
    return found


def have_changed(routes: Routes) -> bool:
    """Whether routes were added, removed or replaced."""
    return any(owner.routes != known for owner, known in routes)


def served_by(routes: Iterable[BaseRoute], mount: str = "", host: str = "") -> Iterator[Served]:
    """Every API route under these, at every place where it is included."""
    for route in routes:
        if isinstance(route, APIRoute):
            yield _served(route, route, mount, host)
        elif isinstance(route, Mount):
            yield from served_by(route.routes, mount + route.path, host)
        elif isinstance(route, Host):
            yield from served_by(route.routes, mount, route.host)
        elif hasattr(route, "effective_route_contexts"):
            yield from _included(route.effective_route_contexts(), mount, host)


def _included(contexts: Iterable[Any], mount: str, host: str) -> Iterator[Served]:
    """Routes of an included router, as represented by FastAPI from 0.137 on."""
    for context in contexts:
        route = context.original_route
        if isinstance(route, APIRoute):
            yield _served(route, context, mount, host)
        elif context.starlette_route is not None:
            yield from served_by([context.starlette_route], mount, host)


def _served(route: APIRoute, place: Any, mount: str, host: str) -> Served:
    """A route where it is served; `place` is the route itself, or what an inclusion made of it."""
    endpoint, policy = route.endpoint, None
    if isinstance(route, PolicyRoute):
        endpoint, policy = route.author_endpoint, route.policy_for(place.dependant)
    methods = frozenset(place.methods or ())
    return Served(mount + place.path, mount, host, methods, endpoint, policy, route)


class Reader:
    """A cached GET, found by the paths it serves."""

    def __init__(self, served: Served, policy: ReadPolicy) -> None:
        self.served = served
        self.policy = policy
        self.pattern = ResourceTemplate.parse(served.path).pattern
        self._regex, _, self._convertors = compile_path(served.path)
        self._mount = ResourceTemplate.parse(served.mount)

    def resource(self, path: str, above: str = "") -> str | None:
        """The resource it reads at a path, or None if it does not serve that path.

        Args:
            path: Relative to the root of the registered application.
            above: Where that application is mounted itself.
        """
        found = self._regex.match(path)
        if found is None:
            return None
        texts, kinds = found.groupdict(), self._convertors
        try:
            path_params = {name: kinds[name].convert(text) for name, text in texts.items()}
            mount = quoted_mount(above + self._mount.spell(path_params))
            return self.policy.resource_at(path_params, mount)
        except Exception:  # the user's validator may raise anything: the GET fails there, too
            return None


def _spelt(mount: str, path_params: Mapping[str, Any]) -> str | None:
    """A mount with its parameters filled in; None if the request did not pass through it."""
    try:
        return ResourceTemplate.parse(mount).spell(path_params)
    except KeyError:
        return None


class Registry:
    """The cached GETs of an application, by path, endpoint and key builder.

    Attributes:
        served: All routes, in the order in which they are matched.
        reads: Those that are read from the cache, with their policies.
        writes: Those that write and evict, with their policies.
    """

    def __init__(self, served: Iterable[Served]) -> None:
        self.served = tuple(served)
        self.reads = tuple((one, one.read) for one in self.served if one.read is not None)
        self.writes = tuple((one, one.write) for one in self.served if one.write is not None)
        self._readers = tuple(Reader(*one) for one in self.reads)
        self._above = ""

    def below(self, mount: str) -> Registry:
        """The same registry for an application that is mounted at a path."""
        mounted = copy(self)
        mounted._above = mount
        return mounted

    def above(self, policy: ReadPolicy | WritePolicy, scope: Mapping[str, Any]) -> str:
        """Where the application is mounted, as shown by a request that reached this policy."""
        mount = mount_text(scope)
        own = [
            _spelt(one.mount, scope["path_params"])
            for one in (self.served if mount else ())
            if one.read is policy or one.write is policy
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
        """The policy whose resources a key builder names, if there is exactly one."""
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
        """The paths of an endpoint for these values.

        Raises:
            KeyError: If a value is missing.
        """
        return tuple(template.spell(values) for template in self.paths_of(endpoint))
