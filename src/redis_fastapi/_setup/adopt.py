"""Turns plain routes into cache routes if their dependencies declare caching.

A route is rebuilt in place from its own attributes, so every router that holds it serves the new
one.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any, TypeGuard

from fastapi import APIRouter, params
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount

from .._policy.declare import CacheDependency
from .._routes.registry import included_router
from ..route import CacheRoute

_OPTIONS = tuple(
    name
    for name, parameter in inspect.signature(APIRoute.__init__).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
)


def cache_route_class(route_class: type[APIRoute]) -> type[CacheRoute]:
    """The class itself if it is a cache route, otherwise a subclass of it that is."""
    if issubclass(route_class, CacheRoute):
        return route_class
    if route_class is APIRoute:
        return CacheRoute
    return type(f"Cached{route_class.__name__}", (CacheRoute, route_class), {})


def adopt_routes(router: APIRouter) -> bool:
    """Rebuild every plain route under a router that declares caching by a dependency.

    Returns:
        Whether any route was rebuilt.
    """
    return _adopt(router, requested=False, seen=set())


Guards = dict[int, int]
"""How many dependencies each route declares, by the route's id."""


def guards_of(router: APIRouter) -> Guards:
    """The number of dependencies of each route below a router."""
    return {id(route): len(route.dependencies) for _, route in _api_routes(router)}


def renew_guarded(router: APIRouter, before: Guards) -> bool:
    """Make FastAPI derive included routes again that have other dependencies than before.

    Returns:
        Whether there was one.
    """
    now = guards_of(router)
    changed = [
        owner for owner, route in _api_routes(router) if before.get(id(route)) != now[id(route)]
    ]
    for owner in changed:
        _renew(owner)
    return bool(changed)


def _api_routes(router: APIRouter) -> Iterator[tuple[APIRouter, APIRoute]]:
    for route in router.routes:
        included = included_router(route)
        if included is not None:
            yield from _api_routes(included)
        elif isinstance(route, APIRoute):
            yield router, route


def _adopt(router: APIRouter, *, requested: bool, seen: set[tuple[int, bool]]) -> bool:
    """Adopt the routes under one router; returns whether any changed."""
    if (id(router), requested) in seen:
        return False
    seen.add((id(router), requested))
    changed = [_adopt_one(route, requested, seen) for route in list(router.routes)]
    if any(changed):
        _renew(router)
    return any(changed)


def _adopt_one(route: BaseRoute, requested: bool, seen: set[tuple[int, bool]]) -> bool:
    included = included_router(route)
    if included is not None:
        inherited = getattr(getattr(route, "include_context", None), "dependencies", ())
        return _adopt(included, requested=requested or _declares(inherited), seen=seen)
    if _is_plain(route) and (requested or _declares(route.dependencies)):
        _rebuild(route)
        return True
    if isinstance(route, Mount) and isinstance(route.app, APIRouter):
        return _adopt(route.app, requested=requested, seen=seen)
    return False


def _is_plain(route: BaseRoute) -> TypeGuard[APIRoute]:
    return isinstance(route, APIRoute) and not isinstance(route, CacheRoute)


def _declares(dependencies: Iterable[params.Depends]) -> bool:
    return any(isinstance(one.dependency, CacheDependency) for one in dependencies)


def _rebuild(route: APIRoute) -> None:
    options: dict[str, Any] = {
        name: getattr(route, name) for name in _OPTIONS if hasattr(route, name)
    }
    if _is_derived(route):
        del options["response_model"]
    before = list(route.dependant.dependencies)
    route.__class__ = cache_route_class(type(route))
    route.__init__(route.path, route.endpoint, **options)  # type: ignore[misc]  # in place on purpose
    _add_again(before, route.dependant.dependencies)


def _add_again(before: list[Dependant], rebuilt: list[Dependant]) -> None:
    """Keep guards that were added to a route's dependencies by hand."""
    had, has = [one.call for one in before], [one.call for one in rebuilt]
    rebuilt[:0] = [
        one
        for one in before
        if had.count(one.call) > has.count(one.call) and not isinstance(one.call, CacheDependency)
    ]


def _is_derived(route: APIRoute) -> bool:
    """Whether the response model was derived from the return annotation, as it will be again."""
    model = route.response_model
    return model is not None and model == inspect.signature(route.endpoint).return_annotation


async def _nothing(request: Request) -> Response:
    return Response(status_code=404)


def _renew(router: APIRouter) -> None:
    """Make FastAPI derive included routes again: adding a route marks them as changed."""
    router.add_route("/", _nothing)
    router.routes.pop()
