"""A ready response behind FastAPI's application and routing: what no cache in a route undercuts."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.catalogue import product_of


def build(size: int) -> FastAPI:
    """The application."""
    body = product_of(0, size).model_dump_json().encode()

    async def answer_at_once(request: Request) -> Response:
        return Response(body, media_type="application/json")

    class AnsweringRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            return answer_at_once

    router = APIRouter(prefix="/products", route_class=AnsweringRoute)

    @router.get("/{product_id}")
    async def get_product(product_id: int) -> None: ...

    app = FastAPI()
    app.include_router(router, prefix="/shop")
    return app
