"""An application that caches, and endpoints that do not: those of the plain one."""

from __future__ import annotations

from fastapi import FastAPI

from benchmarks.apps import plain
from redis_fastapi import CacheRoute, FastAPIRedis


def build(size: int) -> FastAPI:
    """The application."""
    app = FastAPI()
    FastAPIRedis(app).lifespan().caching()
    app.include_router(plain.products(size, CacheRoute), prefix="/shop")
    return app
