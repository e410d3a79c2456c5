"""From a request to the names of the entry that it reads, or of what it evicts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from operator import is_not
from typing import Any, NamedTuple

from starlette.requests import Request

from .._http import Headers, invalidation_targets
from .._policy.declare import KeyBuilder
from .._policy.policy import Eviction, Put, ReadPolicy, Values, WritePolicy
from .._policy.resource import ResourceTemplate, mount_of, named_resource, path_of, path_resource
from .._redis.keys import EPOCH, Target, digest, group_name, path_name
from .checks import put_problem
from .registry import (
    HasRoutes,
    Registry,
    Routes,
    have_changed,
    routes_of,
    served_by,
)


class Site(NamedTuple):
    """Where resources are looked up for one request.

    Attributes:
        registry: The routes that the application serves.
        prefix: Prefix passed to key builders, unless the declaration has its own.
    """

    registry: Registry
    prefix: str


class Sites:
    """The sites of one application.

    Args:
        served: The application; its routes are read on first use, and again after a change.
        prefix: Prefix passed to key builders, unless the declaration has its own.
    """

    def __init__(self, served: HasRoutes, prefix: str) -> None:
        self.prefix = prefix
        self._served = served
        self._routes: Routes = []
        self._registry: Registry | None = None

    @property
    def registry(self) -> Registry:
        """The routes that the application serves now, relative to its own root."""
        if self._registry is None or have_changed(self._routes):
            self._routes = routes_of(self._served)
            self._registry = Registry(served_by(self._served.routes))
        return self._registry

    @property
    def has_other_policies(self) -> bool:
        """Whether a library has wrapped an endpoint or guarded a route since they were read."""
        known = [one.policy for one in self._registry.served] if self._registry else []
        now = [one.policy for one in served_by(self._served.routes)]
        return len(known) != len(now) or any(map(is_not, known, now))

    def at(self, policy: ReadPolicy | WritePolicy, scope: Mapping[str, Any]) -> Site:
        """The site of a request that reached this policy.

        The application may be mounted in another one without knowing it.
        """
        registry = self.registry
        above = registry.above(policy, scope)
        return Site(registry.below(above) if above else registry, self.prefix)


class Evicted(NamedTuple):
    """Names that one write evicts.

    Attributes:
        entries: Digests of entries.
        generations: Names of generations.
        soft_entries: Digests of entries to evict softly.
        soft_generations: Names of generations to evict softly.
    """

    entries: tuple[str, ...] = ()
    generations: tuple[str, ...] = ()
    soft_entries: tuple[str, ...] = ()
    soft_generations: tuple[str, ...] = ()

    def plus(self, other: Evicted) -> Evicted:
        """The union."""
        both = zip(self, other, strict=True)
        return Evicted(*(tuple(dict.fromkeys((*mine, *theirs))) for mine, theirs in both))

    def softly(self) -> Evicted:
        """The same names, to be evicted softly."""
        return Evicted(soft_entries=self.entries, soft_generations=self.generations)


EVERYTHING = Evicted(generations=(EPOCH,))


async def read_target(policy: ReadPolicy, values: Values, request: Request, sites: Sites) -> Target:
    """The target that a request reads.

    Raises:
        Exception: Whatever a key builder or a template's attribute raises; the caller continues
            without the cache.
    """
    resource = await _read_resource(policy, values, request, sites)
    body = await request.body() if policy.selectors.body else b""
    selected = policy.selectors.parts(values, request, body)
    groups = [group.render(values) for group in policy.groups]
    return policy.target(resource, selected, groups)


async def _read_resource(policy: ReadPolicy, values: Values, request: Request, sites: Sites) -> str:
    if policy.key_builder is not None:
        group = policy.groups[0].text if policy.groups else ""
        prefix = policy.prefix or sites.prefix
        name = await _built(policy.key_builder, request, group, prefix)
        return named_resource(name, policy.prefix)
    if policy.key is None:
        return policy.resource_at(request.path_params, mount_of(request.scope))
    if isinstance(policy.key, ResourceTemplate):
        return path_resource(policy.key.render(values), policy.prefix)
    registry = sites.at(policy, request.scope).registry
    path = registry.spell(policy.key, values)[0]
    found = registry.resources_at(path)
    return found[0] if found else path_resource(path, policy.prefix)


async def evicted_by(eviction: Eviction, values: Values, request: Request, site: Site) -> Evicted:
    """What one eviction names for a request; raises like ``read_target``."""
    named = await _evicted_by(eviction, values, request, site)
    return named.softly() if eviction.soft else named


async def _evicted_by(eviction: Eviction, values: Values, request: Request, site: Site) -> Evicted:
    if eviction.everything:
        return EVERYTHING
    groups = tuple(group_name(group.render(values)) for group in eviction.groups)
    if eviction.key_builder is not None:
        prefix = eviction.prefix or site.prefix
        name = await _built(eviction.key_builder, request, eviction.builder_group, prefix)
        return evicted_resources([named_resource(name, eviction.prefix)])
    resources = _resources(eviction, values, request, site)
    return evicted_resources(resources).plus(Evicted(generations=groups))


def evicted_by_response(request: Request, status: int, headers: Headers, site: Site) -> Evicted:
    """What a write's response names in Location and Content-Location (RFC 9111 section 4.4)."""
    url = request.url
    paths = invalidation_targets(
        request.method, status, headers, scheme=url.scheme, host=url.netloc, path=url.path
    )
    outer = str(request.scope.get("app_root_path", request.scope.get("root_path", "")))
    inner = (path.removeprefix(outer) if path.startswith(f"{outer}/") else path for path in paths)
    return evicted_resources(
        one for path in inner if path != path_of(request.scope) for one in _at(path, "", site)
    )


def evicted_resources(resources: Iterable[str]) -> Evicted:
    """Every variant of these resources: the plain entry by key, the others by generation."""
    named = tuple(resources)
    return Evicted(tuple(digest([one]) for one in named), tuple(path_name(one) for one in named))


def _resources(eviction: Eviction, values: Values, request: Request, site: Site) -> Iterable[str]:
    if eviction.own_path:
        return _at(path_of(request.scope), eviction.prefix, site)
    if eviction.key is None:
        return ()
    if isinstance(eviction.key, ResourceTemplate):
        spelt = eviction.key.spell(values)
        literal = path_resource(eviction.key.render(values), eviction.prefix)
        return (literal, *site.registry.resources_at(spelt, eviction.prefix))
    return _of_endpoint(eviction.key, values, site)


def _of_endpoint(endpoint: Callable[..., Any], values: Values, site: Site) -> list[str]:
    """The resources that an endpoint reads, at every place where it is served."""
    resources: list[str] = []
    for served in site.registry.places_of(endpoint):
        read = served.read
        if read is not None and isinstance(read.key, ResourceTemplate):
            resources.append(path_resource(read.key.render(values), read.prefix))
        else:
            path = ResourceTemplate.parse(served.path).spell(values)
            resources += _at(path, read.prefix if read is not None else "", site)
    return resources


def _at(path: str, prefix: str, site: Site) -> tuple[str, ...]:
    """The resources read at a path; the path itself if no route here reads it."""
    return site.registry.resources_at(path, prefix) or (path_resource(path, prefix),)


class PutTarget(NamedTuple):
    """Where a put writes, or what it evicts instead.

    Attributes:
        reader: The policy of the GET whose entry is written; None if the put only evicts.
        target: The target of that entry.
        evicted: What to evict if the value cannot be written.
        always_evicted: What to evict in any case: variants by the response's own Vary, and the
            other paths of an endpoint that is served at several.
        groups: Names of the entry's groups.
    """

    reader: ReadPolicy | None
    target: Target | None
    evicted: Evicted
    always_evicted: Evicted = Evicted()
    groups: tuple[str, ...] = ()


async def put_target(
    put: Put, write: WritePolicy, values: Values, request: Request, site: Site
) -> PutTarget:
    """The entry that a put writes if its GET has a single variant; otherwise what it evicts."""
    named = await _put_target(put, write, values, request, site)
    if put.key is None or isinstance(put.key, ResourceTemplate):
        return named
    others = site.registry.spell(put.key, values)[1:]
    always_evicted = evicted_resources(
        one for path in others for one in _at(path, put.prefix, site)
    )
    evicted = named.evicted.plus(always_evicted)
    return named._replace(evicted=evicted, always_evicted=named.always_evicted.plus(always_evicted))


async def _put_target(
    put: Put, write: WritePolicy, values: Values, request: Request, site: Site
) -> PutTarget:
    reader, resource = await _put_resource(put, values, request, site)
    evicted = evicted_resources([resource])
    only_evicts = PutTarget(None, None, evicted)
    if reader is None or reader.selectors or reader.uncacheable or put_problem(put, write, reader):
        return only_evicts
    try:
        groups = tuple(group.render(values) for group in reader.groups)
    except (KeyError, AttributeError):
        return only_evicts
    # variants by the response's own Vary are older than what is put
    variants = Evicted(generations=evicted.generations)
    target = reader.target(resource, (), groups)
    return PutTarget(reader, target, evicted, variants, groups)


async def _put_resource(
    put: Put, values: Values, request: Request, site: Site
) -> tuple[ReadPolicy | None, str]:
    """The resource that a put names, and the policy that reads it, if there is one."""
    if put.key_builder is None:
        path = _put_path(put, values, request, site)
        found = site.registry.reader_at(path, put.prefix)
        return found or (None, path_resource(path, put.prefix))
    reader = site.registry.reader_by(put.key_builder, put.prefix)
    read = tuple(group.text for group in reader.groups) if reader is not None else ()
    group = next(iter(put.groups or read), "")
    name = await _built(put.key_builder, request, group, put.prefix or site.prefix)
    return reader, named_resource(name, put.prefix)


def _put_path(put: Put, values: Values, request: Request, site: Site) -> str:
    if put.key is None:
        return path_of(request.scope)
    if isinstance(put.key, ResourceTemplate):
        return put.key.spell(values)
    return site.registry.spell(put.key, values)[0]


async def _built(builder: KeyBuilder, request: Request, group: str, prefix: str) -> str:
    name = builder(request, eviction_group=group, prefix=prefix)
    return str(await name) if inspect.isawaitable(name) else str(name)
