"""The least that Starlette sends: no routing, no endpoint."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from benchmarks.catalogue import product_of


class _Bare(Starlette):
    def __init__(self, size: int) -> None:
        super().__init__()
        self._body = product_of(0, size).model_dump_json().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Response(self._body, media_type="application/json")(scope, receive, send)


def build(size: int) -> Starlette:
    """The application."""
    return _Bare(size)
