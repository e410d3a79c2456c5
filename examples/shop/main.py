"""The application: ``uvicorn shop.main:app``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from redis_fastapi import FastAPIRedis

from . import basket, categories, health, offers, page, products, report
from .db import database, database_path


@asynccontextmanager
async def open_database(app: FastAPI) -> AsyncIterator[None]:
    """Have the database open while the shop runs."""
    async with database.opened(database_path()):
        yield


app = FastAPI(title="Shop", lifespan=open_database)
FastAPIRedis(app).lifespan().caching()
for part in (page, products, categories, basket, offers, report, health):
    app.include_router(part.router)
