"""The fast path: a hit whose route is known is sent before FastAPI's routing.

The application's middleware runs outside it, and sees each request with the scope that routing
would have left. A response that was prepared for an earlier hit is sent again while the entry still
gives it. Any other request starts its passage here and, if it is no hit, continues it through the
routing, so that nothing is looked up twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from fastapi import FastAPI
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from .. import _http
from .._app.runtime import context_in
from .._engine.engine import Outcome
from .._serving.context import Context
from .._serving.known_routes import KNOWN_ROUTES, KnownRoute, KnownRoutes
from .._serving.passage import BEGUN_PASSAGE, EXPLAIN, CachePassage
from .._serving.prepared import Prepared
from .._serving.refresh import RERUN
from .._serving.shortcut import alias_of

_NATIVE_TELEMETRY = "fastapi.telemetry"
"""In scopes that newer FastAPI releases trace: their routing names the span."""


def fast_path(app: ASGIApp, served: FastAPI) -> ASGIApp:
    """A middleware directly in front of the routing, which sends hits without it.

    If it is not the innermost middleware, it is left out, because responding here would skip the
    others.

    Args:
        app: The next ASGI application inside.
        served: The FastAPI application.
    """
    if not _leads_to_routing(app, served):
        return app
    routes = KnownRoutes(served.router)
    setattr(served, KNOWN_ROUTES, routes)
    paths, serve_known_path = routes.paths, FastPath(app, served, routes).serve

    # every request pays for this, so it looks up one path and no attribute
    def serve(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope.get("path") in paths:
            return serve_known_path(scope, receive, send)
        return app(scope, receive, send)

    return serve


class FastPath:
    """What a request for a known path meets in front of the routing.

    Args:
        app: The next ASGI application inside.
        served: The FastAPI application.
        routes: Its known routes.
    """

    def __init__(self, app: ASGIApp, served: FastAPI, routes: KnownRoutes) -> None:
        self._routing = app
        self._served = served
        self._routes = routes

    def serve(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Respond if the request is a hit; otherwise pass it to the routing."""
        is_get = scope["type"] == "http" and scope["method"] == "GET"
        route = self._routes.find(alias_of(scope)) if is_get else None
        context = self._context(scope) if route is not None else None
        if route is None or context is None:
            return self._routing(scope, receive, send)
        return self._respond(route, context, scope, receive, send)

    def _context(self, scope: Scope) -> Context | None:
        """The context of a request; None if it has to go through the routing."""
        barred = (
            self._served.dependency_overrides
            or scope.get(_NATIVE_TELEMETRY) is not None
            or EXPLAIN in scope
            or RERUN in scope
            or scope.get("app") is not self._served
        )
        return None if barred else context_in(scope)

    def _respond(
        self, route: KnownRoute, context: Context, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        prepared = _prepared(route, context, scope)
        if prepared is None:
            return self._begin_passage(route, context, None, scope, receive, send)
        if not context.local(route.read.local):
            return self._look_again(prepared, route, context, scope, receive, send)
        kept = context.engine.recall(route.destination.target)
        if kept is None or not prepared.is_given_by(kept.entry, context.now_ms()):
            return self._begin_passage(route, context, None, scope, receive, send)
        route.fill_scope(scope, self._routes.router)
        return prepared.response(kept.entry.body)(scope, receive, send)

    async def _look_again(
        self,
        prepared: Prepared,
        route: KnownRoute,
        context: Context,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Send the prepared response if the entry still gives it; otherwise begin a passage."""
        try:
            found = await context.engine.look_again(
                route.destination.target, prepared, wait=route.read.single_flight
            )
        except BaseException:
            route.fill_scope(scope, self._routes.router)
            raise
        if not isinstance(found, bytes):
            await self._begin_passage(route, context, found, scope, receive, send)
            return
        route.fill_scope(scope, self._routes.router)
        await prepared.response(found)(scope, receive, send)

    async def _begin_passage(
        self,
        route: KnownRoute,
        context: Context,
        found: Outcome | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Begin a passage, and continue it through the routing unless it is a hit.

        Args:
            route: The known route of the request.
            context: Of the application.
            found: The outcome of the lookup, if it was made.
        """
        passage = CachePassage(route.policy, context, scope, None)
        try:
            response = await passage.before_dependencies(route.destination, found)
        except BaseException as error:
            route.fill_scope(scope, self._routes.router)
            await passage.abandon(error)
            raise
        if response is None:
            await self._continue_routing(passage, scope, receive, send)
            return
        route.fill_scope(scope, self._routes.router)
        await response(scope, receive, send)

    async def _continue_routing(
        self, passage: CachePassage, scope: Scope, receive: Receive, send: Send
    ) -> None:
        scope[BEGUN_PASSAGE] = passage
        try:
            await self._routing(scope, receive, send)
        finally:
            # no route took it over: the routes have changed in the meantime
            if scope.pop(BEGUN_PASSAGE, None) is not None:
                await passage.abandon(asyncio.CancelledError())


def _prepared(route: KnownRoute, context: Context, scope: Scope) -> Prepared | None:
    """The response prepared for an equal request; None if a passage is needed."""
    prepared = route.destination.prepared
    # only passages report to listeners
    if prepared is None or context.telemetry is not None:
        return None
    return prepared if prepared.request_fields == _http.caching_fields(scope["headers"]) else None


def _leads_to_routing(app: ASGIApp, served: FastAPI) -> bool:
    """Whether only FastAPI's own middleware stands between here and the routing."""
    behind: Any = app.app if isinstance(app, ExceptionMiddleware) else None
    # older FastAPI releases have none
    if type(behind).__module__ == _EXIT_STACK:
        behind = behind.app
    return behind is served.router


_EXIT_STACK = "fastapi.middleware.asyncexitstack"
