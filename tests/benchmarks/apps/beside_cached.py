"""The unmarked endpoints, and cached ones elsewhere in the application."""

from __future__ import annotations

from fastapi import FastAPI

from benchmarks.apps import markers, plain
from redis_fastapi import CacheRoute, FastAPIRedis


def build(size: int) -> FastAPI:
    """The application."""
    app = FastAPI()
    FastAPIRedis(app).lifespan().caching()
    app.include_router(plain.products(size, CacheRoute), prefix="/shop")
    app.include_router(markers.products(size), prefix="/cached")
    return app
