"""A ready response from the innermost middleware: what no cache behind all of them undercuts."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from benchmarks.catalogue import product_of


class _AnswerAtOnce:
    def __init__(self, app: ASGIApp, body: bytes) -> None:
        self._app = app
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Response(self._body, media_type="application/json")(scope, receive, send)


def build(size: int) -> FastAPI:
    """The application."""
    body = product_of(0, size).model_dump_json().encode()
    return FastAPI(middleware=[Middleware(_AnswerAtOnce, body=body)])
