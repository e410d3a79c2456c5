"""On cashews; where its author need not write a key, the library makes it from the parameters."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from cashews import cache
from fastapi import FastAPI, Header

from peers.shop import CurrentUser, Shelf


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    cache.setup(os.environ["REDIS_URL"])
    yield
    await cache.close()


def build(shelf: Shelf) -> FastAPI:
    app = FastAPI(lifespan=lifespan)
    cached = cache(ttl="5m", tags=["items"])

    @app.get("/items/{item_id}")
    @cached
    async def get_item(item_id: int) -> int:
        return item_id

    @app.delete("/items")
    async def delete_items() -> None:
        await cache.delete_tags("items")

    @app.get("/price")
    @cache(ttl="5m", tags=["items"], lock=True)
    async def get_price() -> int:
        return await shelf.read()

    @app.get("/greeting")
    @cached
    async def get_greeting(accept_language: Annotated[str, Header()]) -> str:
        return accept_language

    @app.get("/files/{path:path}")
    @cached
    async def get_file(path: str) -> str:
        return path

    @app.get("/offers")
    @cached
    async def get_offers(user: CurrentUser) -> str:
        return "members pay less"

    @app.get("/basket")
    @cached
    async def get_basket(user: CurrentUser) -> str:
        return user

    return app
