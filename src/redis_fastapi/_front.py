"""In front of an application's routing: a request whose way is known is answered before it.

All middleware of the application stands outside, and sees each request with the scope that routing
would have left. What is not answered here goes on, and its passage with it: nothing is looked up
twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

from fastapi import FastAPI
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from ._context import Context
from ._passage import CARRIED, EXPLAIN, CachePassage
from ._refresh import RERUN
from ._runtime import context_in
from ._ways import ENTRANCE, Way, Ways

_NATIVE_TELEMETRY = "fastapi.telemetry"
"""In scopes of which newer FastAPI releases make spans: only its routing names these."""


def in_front(app: ASGIApp, served: FastAPI) -> ASGIApp:
    """A middleware to be the innermost of an application.

    Where it is not, or routing is not FastAPI's own, it is left out: something would be passed by.
    """
    router = type(served.router)
    own = all(part.__module__ in _OWN for part in (router.__call__, router.app))
    untouched = served.router.middleware_stack == served.router.app
    innermost = isinstance(app, ExceptionMiddleware)
    return _Front(app, served) if own and untouched and innermost else app


_OWN = ("fastapi.routing", "starlette.routing")


class _Front:
    """The application's routing, and what leads past it."""

    def __init__(self, app: ASGIApp, served: FastAPI) -> None:
        self._routing = app
        self._served = served
        self._ways = Ways(served, served.router)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http" or scope["method"] != "GET":
            return self._routing(scope, receive, send)
        way = self._ways.find(scope)
        context = None if way is None else self._context(scope)
        if way is None or context is None:
            scope[ENTRANCE] = self._ways, scope.get("root_path")
            return self._routing(scope, receive, send)
        return self._lead(way, context, scope, receive, send)

    def _context(self, scope: Scope) -> Context | None:
        """What a request needs of the cache; None where it has to go through the routing."""
        barred = (
            self._served.dependency_overrides
            or _NATIVE_TELEMETRY in scope
            or EXPLAIN in scope
            or RERUN in scope
            or scope.get("app") is not self._served
        )
        return None if barred else context_in(scope)

    async def _lead(
        self, way: Way, context: Context, scope: Scope, receive: Receive, send: Send
    ) -> None:
        passage = CachePassage(way.policy, context, Request(scope, receive, send), None)
        try:
            answer = await passage.early(way.destination)
        except BaseException as error:
            await passage.abandon(error)
            raise
        if answer is None:
            await self._go_on(passage, scope, receive, send)
            return
        way.mark(scope)
        await answer(scope, receive, send)

    async def _go_on(
        self, passage: CachePassage, scope: Scope, receive: Receive, send: Send
    ) -> None:
        scope[CARRIED] = passage
        try:
            await self._routing(scope, receive, send)
        finally:
            # nobody took it: the routes have changed in this very moment
            if scope.pop(CARRIED, None) is not None:
                await passage.abandon(asyncio.CancelledError())
