"""In front of an application's routing: a request whose way is known is answered before it.

All middleware of the application stands outside, and sees each request with the scope that routing
would have left. An answer that was sent before is sent again while it is what the cache gives; all
else begins its passage here, and goes on with it where it is not answered: nothing is looked up
twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from fastapi import FastAPI
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from . import _http
from ._context import Context
from ._engine import Outcome
from ._passage import CARRIED, EXPLAIN, CachePassage
from ._prepared import Prepared, plain_hit
from ._refresh import RERUN
from ._runtime import context_in
from ._shortcut import alias_of
from ._ways import ENTRANCE, Way, Ways

_NATIVE_TELEMETRY = "fastapi.telemetry"
"""In scopes of which newer FastAPI releases make a span: its routing names that."""


class Front:
    """A middleware that stands before the routing, and leads past it.

    Where it would not be the innermost one it is left out, since others would be passed by: its
    constructor hands back what stands behind it.

    Args:
        app: What stands behind it.
        served: The application.
    """

    # Starlette takes what the call returns, whatever that is
    def __new__(cls, app: ASGIApp, served: FastAPI) -> ASGIApp:  # type: ignore[misc]
        return super().__new__(cls) if _leads_to_routing(app, served) else app

    def __init__(self, app: ASGIApp, served: FastAPI) -> None:
        self._routing = app
        self._served = served
        self._ways = Ways(served.router)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http" or scope["method"] != "GET":
            return self._routing(scope, receive, send)
        ways = self._ways
        # what is not cached pays for this look and for no other
        way = ways.find(alias_of(scope)) if scope["path"] in ways.paths else None
        if way is None:
            scope[ENTRANCE] = ways
            return self._routing(scope, receive, send)
        context = self._context(scope)
        if context is None:
            return self._routing(scope, receive, send)
        return self._lead(way, context, scope, receive, send)

    def _context(self, scope: Scope) -> Context | None:
        """What a request needs of the cache; None where it has to go through the routing."""
        barred = (
            self._served.dependency_overrides
            or scope.get(_NATIVE_TELEMETRY) is not None
            or EXPLAIN in scope
            or RERUN in scope
            or scope.get("app") is not self._served
        )
        return None if barred else context_in(scope)

    def _lead(
        self, way: Way, context: Context, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        prepared = _prepared(way, context, scope)
        if prepared is None:
            return self._pass(way, context, None, scope, receive, send)
        local = context.local(way.read.local)
        kept = context.engine.recall(way.destination.target) if local else None
        if kept is None or not prepared.is_given_by(kept.entry, context.now_ms()):
            return self._look_up(prepared, way, context, scope, receive, send)
        way.mark(scope, self._ways.router)
        return prepared.response(kept.entry)(scope, receive, send)

    async def _look_up(
        self,
        prepared: Prepared,
        way: Way,
        context: Context,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Send again what is prepared, or begin a passage with what was found."""
        read, target = way.read, way.destination.target
        try:
            found = await context.engine.look_up(
                target, wait=read.single_flight, local=context.local(read.local)
            )
        except BaseException:
            way.mark(scope, self._ways.router)
            raise
        hit = plain_hit(found)
        if hit is None or not prepared.is_given_by(hit.entry, context.now_ms()):
            await self._pass(way, context, found, scope, receive, send)
            return
        way.mark(scope, self._ways.router)
        await prepared.response(hit.entry)(scope, receive, send)

    async def _pass(
        self,
        way: Way,
        context: Context,
        found: Outcome | None,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Begin a passage.

        Args:
            way: Of the request.
            context: What it needs of the cache.
            found: What is there, if that is known.
        """
        passage = CachePassage(way.policy, context, scope, None)
        try:
            answer = await passage.early(way.destination, found)
        except BaseException as error:
            way.mark(scope, self._ways.router)
            await passage.abandon(error)
            raise
        if answer is None:
            await self._go_on(passage, scope, receive, send)
            return
        way.mark(scope, self._ways.router)
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


def _prepared(way: Way, context: Context, scope: Scope) -> Prepared | None:
    """What was sent there last, to the same question; None where it takes a passage."""
    prepared = way.destination.prepared
    # listeners hear of passages only
    if prepared is None or context.telemetry is not None:
        return None
    return prepared if prepared.asked == _http.wishes(scope["headers"]) else None


def _leads_to_routing(app: ASGIApp, served: FastAPI) -> bool:
    """Whether there is nothing but FastAPI's own between here and the routing."""
    behind: Any = app.app if isinstance(app, ExceptionMiddleware) else None
    # older FastAPI releases have none
    if type(behind).__module__ == _EXIT_STACK:
        behind = behind.app
    return behind is served.router


_EXIT_STACK = "fastapi.middleware.asyncexitstack"
