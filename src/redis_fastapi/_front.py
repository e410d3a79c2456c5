"""In front of an application's routing: a request whose way is known is answered before it.

All middleware of the application stands outside, and sees each request with the scope that routing
would have left. What is not answered here goes on, and its passage with it: nothing is looked up
twice. What the process keeps needs no passage where it was sent to the same question before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from fastapi import FastAPI
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from . import _http
from ._context import Context
from ._passage import CARRIED, EXPLAIN, CachePassage
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
        answer = _sent_again(way, context, scope)
        if answer is None:
            return self._lead(way, context, scope, receive, send)
        way.mark(scope, ways.router)
        return answer(scope, receive, send)

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

    async def _lead(
        self, way: Way, context: Context, scope: Scope, receive: Receive, send: Send
    ) -> None:
        passage = CachePassage(way.policy, context, scope, None)
        try:
            answer = await passage.early(way.destination)
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


def _sent_again(way: Way, context: Context, scope: Scope) -> Response | None:
    """What the process keeps of an entry, as it was sent there last to the same question.

    Nothing is waited for, so there is nothing that a passage would have to hold; it has its
    listeners told, however.
    """
    prepared, read = way.destination.prepared, way.policy.read
    if prepared is None or read is None or context.telemetry is not None:
        return None
    kept = context.engine.recall(way.destination.target) if context.local(read.local) else None
    if kept is None:
        return None
    entry, asked = kept.entry, _http.wishes(scope["headers"])
    return prepared.response(entry) if prepared.answers(entry, asked, context.now_ms()) else None


def _leads_to_routing(app: ASGIApp, served: FastAPI) -> bool:
    """Whether there is nothing but FastAPI's own between here and the routing."""
    behind: Any = app.app if isinstance(app, ExceptionMiddleware) else None
    # older FastAPI releases have none
    if type(behind).__module__ == _EXIT_STACK:
        behind = behind.app
    return behind is served.router


_EXIT_STACK = "fastapi.middleware.asyncexitstack"
