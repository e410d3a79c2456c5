"""A ready response from the one route of a Starlette application, without FastAPI."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from benchmarks.catalogue import product_of


def build(size: int) -> Starlette:
    """The application."""
    body = product_of(0, size).model_dump_json().encode()

    async def answer_at_once(request: Request) -> Response:
        return Response(body, media_type="application/json")

    return Starlette(routes=[Route("/shop/products/{product_id}", answer_at_once)])
