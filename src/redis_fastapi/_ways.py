"""The ways that requests took through an application's routing, for those that come after them.

- Path, query and root path of a request decide its way, as long as no route that may be asked
  looks at anything but them and the method. Where one does, no way is known.
- All ways are forgotten when routes were added to the application or to a router that it includes,
  or taken away.
- A way leads to one endpoint at one place, and only where that has a shortcut (`_shortcut.py`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, NamedTuple

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from starlette.routing import BaseRoute, Host, Router

from ._policy import Policy
from ._shortcut import Alias, Destination, alias_of, is_short

ENTRANCE = "redis_fastapi_entrance"
"""Where the scope of a request holds the `Ways` that wait for its way, and its root path there."""

_MOST_KNOWN = 4_096

_ROUTED = ("endpoint", "route", "router")
"""What routing leaves in a scope, beside the path's parameters, for middleware to see."""


class Way(NamedTuple):
    """Where a request was led.

    Attributes:
        destination: Its entry.
        policy: Of the endpoint, where it serves.
        dependant: What was in force there: no dependencies.
        routed: What routing left in its scope.
        path_params: The parameters in its path.
    """

    destination: Destination
    policy: Policy
    dependant: Dependant
    routed: Mapping[str, Any]
    path_params: Mapping[str, Any]

    @property
    def is_open(self) -> bool:
        """Whether there are no dependencies still: some may be added after the first request."""
        return not self.dependant.dependencies

    def mark(self, scope: MutableMapping[str, Any]) -> None:
        """Leave in a scope what routing would."""
        scope.update(self.routed)
        scope["path_params"] = {**scope.get("path_params", {}), **self.path_params}


def way_through(
    scope: Mapping[str, Any], destination: Destination, policy: Policy, dependant: Dependant
) -> Way:
    """The way that a request has come; its scope is as routing left it."""
    routed = {name: scope[name] for name in _ROUTED if name in scope}
    return Way(destination, policy, dependant, routed, scope.get("path_params", {}))


class Ways:
    """The ways of one application.

    Args:
        app: The application; its scopes name it.
        router: Its router.
        most: Ways that are known at most; the one that was not used for longest goes first.
    """

    def __init__(self, app: object, router: APIRouter, *, most: int = _MOST_KNOWN) -> None:
        self._app = app
        self._router = router
        self._most = most
        self._known: OrderedDict[Alias, Way] = OrderedDict()
        self._routes: list[_Routes] = []
        self._closed = False

    def __len__(self) -> int:
        return len(self._known)

    def find(self, scope: Mapping[str, Any]) -> Way | None:
        """The way of a request, if that is known."""
        alias = alias_of(scope)
        way = self._known.get(alias)
        if way is None:
            return None
        if self._have_changed() or not way.is_open:
            self._known.clear()
            return None
        self._known.move_to_end(alias)
        return way

    def learn(self, scope: Mapping[str, Any], root_path: str | None, way: Way) -> None:
        """Remember the way of a request.

        Args:
            scope: Of the request, at the end of its way.
            root_path: What its root path was at the beginning.
            way: Its way.
        """
        # a mounted application or router has a part of the path to itself, and ways of its own
        if scope["app"] is not self._app or scope.get("root_path") != root_path:
            return
        alias = alias_of(scope)
        if not is_short(alias) or not self._can_know():
            return
        self._known[alias] = way
        if len(self._known) > self._most:
            self._known.popitem(last=False)

    def _have_changed(self) -> bool:
        for router, routes, number in self._routes:
            if router.routes is not routes or len(routes) != number:
                return True
        return False

    def _can_know(self) -> bool:
        """Whether the routes that may be asked, as they are now, look at path and method only."""
        if not self._closed and (not self._routes or self._have_changed()):
            self._known.clear()
            self._routes = list(_routes_of(self._router, set()))
            self._closed = not all(map(_looks_at_path_only, self._routes))
        return not self._closed


class _Routes(NamedTuple):
    """A router's list of routes, and how many there were."""

    router: Router
    routes: Sequence[BaseRoute]
    number: int


def _routes_of(router: Router, seen: set[int]) -> list[_Routes]:
    """The routes of a router and of those that it includes."""
    if id(router) in seen:
        return []
    seen.add(id(router))
    found = [_Routes(router, router.routes, len(router.routes))]
    for route in router.routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            found += _routes_of(included, seen)
    return found


def _looks_at_path_only(of: _Routes) -> bool:
    return _is_ordinary(of.router) and all(map(_is_ordinary, of.routes))


def _is_ordinary(one: Router | BaseRoute) -> bool:
    """Whether it finds its requests as FastAPI and Starlette do, and not by their host."""
    matches = getattr(type(one), "matches", None)
    own = matches is None or matches.__module__ in ("fastapi.routing", "starlette.routing")
    return own and "matches" not in vars(one) and not isinstance(one, Host)
