"""Which route serves which request, remembered from earlier requests.

- Path, query and root path determine the route, provided that no route that might match considers
  anything but these and the method. If one does, nothing is remembered.
- Only routes of the application itself and of the routers it includes are remembered. A mounted
  ASGI application may consider anything, so what lies behind one is not.
- Everything is forgotten when routes of those routers are added, removed or replaced.
- A route is remembered only if it has an early shortcut (`shortcut.py`), when an alias is
  requested for the second time.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, MutableMapping, Sequence
from types import MethodType
from typing import Any, NamedTuple

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.convertors import Convertor
from starlette.routing import BaseRoute, Host, Match, Router, WebSocketRoute

from .._policy.handlers import is_defined_in
from .._policy.policy import Policy, ReadPolicy
from .._routes.registry import included_router
from .shortcut import Alias, Destination, alias_of, is_short

KNOWN_ROUTES = "redis_fastapi_known_routes"
"""Attribute of an application with the `KnownRoutes` that learn the routes of its requests."""

_MOST_KNOWN = 4_096


class Place(NamedTuple):
    """Where an endpoint was served when its route was learned.

    Attributes:
        number: Index, among the application's own routes, of the one that matched.
        chosen: The route at that index: the endpoint's own, or an inclusion.
        server: What serves the endpoint: its route, or what the inclusion derived from it.
        app: The server's ASGI application; None where FastAPI builds one per request.
        dependant: The dependencies in force there, of which there were none.
        call: What the route calls for the response: the endpoint's wrapper.
    """

    number: int
    chosen: BaseRoute | None
    server: Any
    app: object
    dependant: Dependant
    call: object

    def is_unchanged(self, routes: Sequence[BaseRoute]) -> bool:
        """Whether it is still served like this; dependencies may be added at any time."""
        dependant = self.dependant
        return (
            not dependant.dependencies
            and dependant.call is self.call
            and routes[self.number] is self.chosen
            and getattr(self.server, "app", None) is self.app
        )


class KnownRoute(NamedTuple):
    """The route that served a request.

    Attributes:
        destination: The entry that the request reads.
        policy: The endpoint's policy at this place.
        read: The part of it for a GET.
        place: Where the endpoint is served.
        routed: What routing put into the scope for middleware to see.
        path_params: The path parameters, of the part of the path that the application routes.
        private: What FastAPI put into the scope for itself; instrumentation reads it.
    """

    destination: Destination
    policy: Policy
    read: ReadPolicy
    place: Place
    routed: Mapping[str, Any]
    path_params: Mapping[str, Any]
    private: Mapping[str, Any]

    def fill_scope(self, scope: MutableMapping[str, Any], router: object) -> None:
        """Put into a scope what routing would have put there."""
        scope.setdefault("router", router)
        scope.update(self.routed)
        scope["path_params"] = {**scope.get("path_params", {}), **self.path_params}
        if self.private:
            scope[_PRIVATE] = {**scope.get(_PRIVATE, {}), **self.private}


_PRIVATE = "fastapi"
_INCLUDED = "effective_route_context"
"""Key, within that, of what an inclusion derived from a route without copying the route."""


class KnownRoutes:
    """The known routes of one application.

    Args:
        router: The application's router.
        most: Upper bound on the aliases remembered; the least recently used goes first.

    Attributes:
        paths: How many known aliases have each path; any other path is unknown.
    """

    def __init__(self, router: APIRouter, *, most: int = _MOST_KNOWN) -> None:
        self.router = router
        self._most = most
        self.paths: Counter[str] = Counter()
        self._known: OrderedDict[Alias, KnownRoute | None] = OrderedDict()
        self._routes: list[_Routes] = []
        self._closed = False

    def find(self, alias: Alias) -> KnownRoute | None:
        """The route of the requests with this alias, if it is known."""
        route = self._known.get(alias)
        if route is None:
            return None
        if self._have_changed():
            self._forget_all()
            return None
        if not route.place.is_unchanged(self.router.routes):
            self._forget(alias)
            return None
        self._known.move_to_end(alias)
        return route

    def learn(
        self,
        scope: Mapping[str, Any],
        destination: Destination,
        policy: Policy,
        dependant: Dependant,
    ) -> None:
        """Remember the route of a request.

        Args:
            scope: Of the request, as its route received it.
            destination: The entry that it reads.
            policy: The endpoint's policy.
            dependant: The dependencies in force.
        """
        # behind a mount the alias is that of the mounted application, root path included
        alias = alias_of(scope)
        if not is_short(alias) or not self._may_learn() or alias in self._known:
            return
        place = _place(self.router, scope, dependant)
        # None is remembered, too: the search is not repeated
        self._known[alias] = place and _known_route(scope, destination, policy, place)
        if place is not None:
            self.paths[alias[0]] += 1
        if len(self._known) > self._most:
            self._forget(next(iter(self._known)))

    def _forget(self, alias: Alias) -> None:
        path = alias[0]
        if self._known.pop(alias) is None:
            return
        self.paths[path] -= 1
        if not self.paths[path]:
            del self.paths[path]

    def _forget_all(self) -> None:
        self._known.clear()
        self.paths.clear()

    def _have_changed(self) -> bool:
        """Whether the routes of a router have changed, or FastAPI has derived them again."""
        # runs on every hit, so it avoids function calls
        for router, routes, known, version in self._routes:
            if (
                router.routes is not routes
                or routes != known
                or getattr(router, _VERSION, None) != version
            ):
                return True
        return False

    def _may_learn(self) -> bool:
        """Whether the current routes consider only path and method."""
        if not self._closed and (not self._routes or self._have_changed()):
            self._forget_all()
            own, *included = self._routes = _routes_of(self.router, set())
            self._closed = not (
                all(map(_is_ordinary, own.routes))
                and all(_is_plain(route) for one in included for route in one.routes)
                and all(_is_untouched(one.router) for one in self._routes)
            )
        return not self._closed


def _known_route(
    scope: Mapping[str, Any], destination: Destination, policy: Policy, place: Place
) -> KnownRoute:
    """The route of a request, as its scope shows it once it was routed."""
    routed = {name: scope[name] for name in ("endpoint", "route") if name in scope}
    path_params = {name: scope["path_params"][name] for name in place.server.param_convertors}
    private = dict(scope.get(_PRIVATE, {}))
    assert policy.read is not None  # a route without one has no shortcut
    return KnownRoute(destination, policy, policy.read, place, routed, path_params, private)


_VERSION = "_routes_version"
"""A router's counter of changes; FastAPI derives included routes again when it has grown."""


class _Routes(NamedTuple):
    """A router's list of routes, and a copy to compare it with.

    Attributes:
        router: The router.
        routes: Its list of routes.
        known: A copy of that list.
        version: `_VERSION` of the router; None where inclusion copies the routes.
    """

    router: Router
    routes: Sequence[BaseRoute]
    known: Sequence[BaseRoute]
    version: int | None


def _routes_of(router: Router, seen: set[int]) -> list[_Routes]:
    """The routes of a router, then those of the routers that it includes."""
    if id(router) in seen:
        return []
    seen.add(id(router))
    version = getattr(router, _VERSION, None)
    found = [_Routes(router, router.routes, list(router.routes), version)]
    for route in router.routes:
        included = included_router(route)
        if included is not None:
            found += _routes_of(included, seen)
    return found


def _place(router: Router, scope: Mapping[str, Any], dependant: Dependant) -> Place | None:
    """Where a request was served; None if anything but FastAPI took part in routing it."""
    number, chosen = _chosen(router, scope)
    server: Any = chosen
    if included_router(chosen) is not None:
        server = scope.get(_PRIVATE, {}).get(_INCLUDED)
    route = getattr(server, "original_route", server)
    if route is None or route is not scope.get("route") or not _has_own(route, "handle"):
        return None
    app = getattr(server, "app", None)
    if app is not None and not _is_own(app):
        return None
    known = all(map(_depends_on_its_text, server.param_convertors.values()))
    return Place(number, chosen, server, app, dependant, dependant.call) if known else None


def _depends_on_its_text(convertor: Convertor[Any]) -> bool:
    """Whether a convertor is Starlette's own: a custom one may give another value each time."""
    return type(convertor).__module__ == Convertor.__module__


def _chosen(router: Router, scope: Mapping[str, Any]) -> tuple[int, BaseRoute | None]:
    """Index and route of the first full match."""
    routed = {name: value for name, value in scope.items() if name != _PRIVATE}
    for number, route in enumerate(router.routes):
        if route.matches(routed)[0] is Match.FULL:
            return number, route
    return 0, None


def _is_ordinary(route: BaseRoute) -> bool:
    """Whether a route matches as FastAPI and Starlette define it, and not by host."""
    return _has_own(route, "matches") and not isinstance(route, Host)


def _is_plain(route: BaseRoute) -> bool:
    """Whether a route leads to an endpoint or a router, and to no other ASGI application."""
    leads_to_endpoint = isinstance(route, (APIRoute, WebSocketRoute))
    return _is_ordinary(route) and (leads_to_endpoint or included_router(route) is not None)


def _is_untouched(router: Router) -> bool:
    """Whether a router passes requests straight to its routes."""
    own = _has_own(router, "__call__", "app", "handle", "matches")
    return own and router.middleware_stack == router.app


_OWN = ("fastapi.routing", "starlette.routing", "redis_fastapi.route")


def _has_own(one: object, *names: str) -> bool:
    """Whether the named methods, if present, are those of FastAPI, Starlette or this library."""
    # the instance's `__dict__` is not read: CPython would look its attributes up slower then
    own = (_function(getattr(one, name, None), one) for name in names)
    inherited = (vars(base).get(name) for base in type(one).__mro__ for name in names)
    return all(_is_own(method) for method in (*own, *inherited) if method is not None)


def _function(method: object, owner: object) -> object:
    """The function of a method that an object has of itself."""
    bound = isinstance(method, MethodType) and method.__self__ is owner
    return method.__func__ if bound else method  # type: ignore[attr-defined]  # a method


def _is_own(function: object) -> bool:
    return is_defined_in(function, *_OWN)
