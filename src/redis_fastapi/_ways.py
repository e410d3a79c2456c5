"""The ways that requests took through an application's routing, for those that come after them.

- Path, query and root path of a request decide its way, as long as no route that may be asked
  looks at anything but them and the method. Where one does, no way is known.
- A way is straight: it leads to a route of the application, or of a router that it includes. What
  lies behind another ASGI application has none, since that may look at anything.
- All ways are forgotten when routes of those routers were added, taken away or exchanged.
- A way leads to one endpoint at one place, and only where that has an early shortcut
  (`_shortcut.py`). It is looked for when a text comes the second time.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping, MutableMapping, Sequence
from types import FunctionType
from typing import Any, NamedTuple

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.convertors import Convertor
from starlette.routing import BaseRoute, Host, Match, Router, WebSocketRoute

from ._policy import Policy, ReadPolicy
from ._registry import included_router
from ._shortcut import Alias, Destination, alias_of, is_short

ENTRANCE = "redis_fastapi_entrance"
"""Where the scope of a request holds the `Ways` that wait for its way."""

_MOST_KNOWN = 4_096


class Place(NamedTuple):
    """Where an endpoint is served, as it was when a way led there.

    Attributes:
        number: Of the application's own route that was chosen.
        chosen: That route: the endpoint's, or an inclusion.
        server: What serves the endpoint there: its route, or what the inclusion made of it.
        app: Behind the server; None where FastAPI makes it anew for each request.
        dependant: What was in force there: no dependencies.
    """

    number: int
    chosen: BaseRoute | None
    server: Any
    app: object
    dependant: Dependant

    def is_as_it_was(self, routes: Sequence[BaseRoute]) -> bool:
        """Whether it is served like that still; dependencies may be added at any time."""
        return (
            not self.dependant.dependencies
            and routes[self.number] is self.chosen
            and getattr(self.server, "app", None) is self.app
        )


class Way(NamedTuple):
    """Where a request was led.

    Attributes:
        destination: Its entry.
        policy: Of the endpoint, where it serves.
        place: Where that is.
        routed: What routing left in its scope for middleware to see.
        path_params: The parameters in the part of its path that the application routes.
        private: What FastAPI left in its scope for itself; instrumentation reads it.
    """

    destination: Destination
    policy: Policy
    place: Place
    routed: Mapping[str, Any]
    path_params: Mapping[str, Any]
    private: Mapping[str, Any]

    @property
    def read(self) -> ReadPolicy:
        """What the endpoint's GET does; without that it has no shortcut, and there is no way."""
        assert self.policy.read is not None
        return self.policy.read

    def mark(self, scope: MutableMapping[str, Any], router: object) -> None:
        """Leave in a scope what routing would."""
        scope.setdefault("router", router)
        scope.update(self.routed)
        scope["path_params"] = {**scope.get("path_params", {}), **self.path_params}
        if self.private:
            scope[_PRIVATE] = {**scope.get(_PRIVATE, {}), **self.private}


_PRIVATE = "fastapi"
_INCLUDED = "effective_route_context"
"""Within that, what an inclusion made of a route, where inclusion leaves the route as it is."""


class Ways:
    """The ways of one application.

    Args:
        router: Its router.
        most: Ways that are known at most; the one that was not used for longest goes first.

    Attributes:
        paths: How many ways begin with which path; who asks for another has none.
    """

    def __init__(self, router: APIRouter, *, most: int = _MOST_KNOWN) -> None:
        self.router = router
        self._most = most
        self.paths: Counter[str] = Counter()
        self._known: OrderedDict[Alias, Way | None] = OrderedDict()
        self._routes: list[_Routes] = []
        self._closed = False

    def find(self, alias: Alias) -> Way | None:
        """The way of a request, if that is known."""
        way = self._known.get(alias)
        if way is None:
            return None
        if self._have_changed():
            self._forget_all()
            return None
        if not way.place.is_as_it_was(self.router.routes):
            self._forget(alias)
            return None
        self._known.move_to_end(alias)
        return way

    def learn(
        self,
        scope: Mapping[str, Any],
        destination: Destination,
        policy: Policy,
        dependant: Dependant,
    ) -> None:
        """Remember the way of a request.

        Args:
            scope: Of the request, at the end of its way.
            destination: Its entry.
            policy: Of the endpoint to which it was led.
            dependant: What is in force there.
        """
        # of one that came through a mount: what its own router does with that root path
        alias = alias_of(scope)
        if not is_short(alias) or not self._can_know() or alias in self._known:
            return
        place = _place(self.router, scope, dependant)
        # nor is one looked for again where there was none
        self._known[alias] = place and _way(scope, destination, policy, place)
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
        """Whether a router has other routes than it had, or FastAPI derives them anew."""
        # each hit asks this: nothing is called where it can be helped
        for router, routes, known, version in self._routes:
            if (
                router.routes is not routes
                or routes != known
                or getattr(router, _VERSION, None) != version
            ):
                return True
        return False

    def _can_know(self) -> bool:
        """Whether the routes that may be asked, as they are now, look at path and method only."""
        if not self._closed and (not self._routes or self._have_changed()):
            self._forget_all()
            own, *included = self._routes = _routes_of(self.router, set())
            self._closed = not (
                all(map(_is_ordinary, own.routes))
                and all(_is_plain(route) for one in included for route in one.routes)
                and all(_is_untouched(one.router) for one in self._routes)
            )
        return not self._closed


def _way(scope: Mapping[str, Any], destination: Destination, policy: Policy, place: Place) -> Way:
    """The way of a request that has come to its end."""
    routed = {name: scope[name] for name in ("endpoint", "route") if name in scope}
    path_params = {name: scope["path_params"][name] for name in place.server.param_convertors}
    private = dict(scope.get(_PRIVATE, {}))
    return Way(destination, policy, place, routed, path_params, private)


_VERSION = "_routes_version"
"""What a router counts where it includes others; FastAPI derives routes anew when it has grown."""


class _Routes(NamedTuple):
    """A router's list of routes, and what was in it.

    Attributes:
        router: The router.
        routes: Its list.
        known: What was in it.
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
    """Where a request was served, if its way was straight and FastAPI's alone."""
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
    return Place(number, chosen, server, app, dependant) if known else None


def _depends_on_its_text(convertor: Convertor[Any]) -> bool:
    """Whether a convertor is Starlette's: one of the author's may ask a clock."""
    return type(convertor).__module__ == Convertor.__module__


def _chosen(router: Router, scope: Mapping[str, Any]) -> tuple[int, BaseRoute | None]:
    """The route that a router chooses by itself, and which one that is."""
    asked = {name: value for name, value in scope.items() if name != _PRIVATE}
    for number, route in enumerate(router.routes):
        if route.matches(asked)[0] is Match.FULL:
            return number, route
    return 0, None


def _is_ordinary(route: BaseRoute) -> bool:
    """Whether it finds its requests as FastAPI and Starlette do, and not by their host."""
    return _has_own(route, "matches") and not isinstance(route, Host)


def _is_plain(route: BaseRoute) -> bool:
    """Whether a request that a router gives to this route comes to no other application."""
    leads_to_endpoint = isinstance(route, (APIRoute, WebSocketRoute))
    return _is_ordinary(route) and (leads_to_endpoint or included_router(route) is not None)


def _is_untouched(router: Router) -> bool:
    """Whether a router passes its requests to its routes, and to nothing before them."""
    own = _has_own(router, "__call__", "app", "handle", "matches")
    return own and router.middleware_stack == router.app


_OWN = ("fastapi.routing", "starlette.routing", f"{__package__}.route")


def _has_own(one: object, *names: str) -> bool:
    """Whether these methods, where it has them, are what FastAPI, Starlette and we define."""
    if not getattr(one, "__dict__", {}).keys().isdisjoint(names):
        return False
    defined = (vars(kind).get(name) for kind in type(one).__mro__ for name in names)
    return all(_is_own(method) for method in defined if method is not None)


def _is_own(function: object) -> bool:
    # what was put in its place may bear its name: where it was compiled does not lie
    return type(function) is FunctionType and function.__globals__.get("__name__") in _OWN
