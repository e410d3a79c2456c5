"""An endpoint behind a sign-in that hands out a finished response: its dependencies alone."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Response

from benchmarks.apps.users import CurrentUser
from benchmarks.catalogue import product_of


def build(size: int) -> FastAPI:
    """The application."""
    body = product_of(0, size).model_dump_json().encode()
    router = APIRouter(prefix="/products")

    @router.get("/{product_id}", response_model=None)
    async def get_product(product_id: int, user: CurrentUser) -> Response:
        return Response(body, media_type="application/json")

    app = FastAPI()
    app.include_router(router, prefix="/shop")
    return app
