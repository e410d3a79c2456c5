"""An endpoint behind a sign-in that hands out what it reads: its dependencies and a round trip."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Response

from benchmarks.apps.reading import reading_app
from benchmarks.apps.users import CurrentUser
from benchmarks.catalogue import product_of


def build(size: int) -> FastAPI:
    """The application."""
    body = product_of(0, size).model_dump_json().encode()
    app, redis = reading_app()
    router = APIRouter(prefix="/products")

    @router.get("/{product_id}", response_model=None)
    async def get_product(product_id: int, user: CurrentUser) -> Response:
        key = f"product:{product_id}"
        found = await redis.get(key)
        if found is None:
            await redis.set(key, body)
        return Response(found or body, media_type="application/json")

    app.include_router(router, prefix="/shop")
    return app
