"""A ready response behind Starlette's application and routing."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from benchmarks.catalogue import product_of


def build(size: int) -> Starlette:
    """The application."""
    body = product_of(0, size).model_dump_json().encode()

    async def get_product(request: Request) -> Response:
        return Response(body, media_type="application/json")

    products = Mount("/products", routes=[Route("/{product_id:int}", get_product)])
    return Starlette(routes=[Mount("/shop", routes=[products])])
