"""On fastapi-redis-sdk."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI, Header

from peers.shop import CurrentUser, Shelf
from redis_fastapi import FastAPIRedis, cache, cache_evict


def build(shelf: Shelf) -> FastAPI:
    app = FastAPI()
    FastAPIRedis(app).lifespan().caching()
    cached = [Depends(cache(ttl=300, eviction_group="items"))]

    @app.get("/items/{item_id}", dependencies=cached)
    async def get_item(item_id: int) -> int:
        return item_id

    @app.delete("/items", dependencies=[Depends(cache_evict(eviction_group="items"))])
    async def delete_items() -> None:
        return None

    @app.get("/price", dependencies=cached)
    async def get_price() -> int:
        return await shelf.read()

    @app.get("/greeting", dependencies=cached)
    async def get_greeting(accept_language: Annotated[str, Header()]) -> str:
        return accept_language

    @app.get("/files/{path:path}", dependencies=cached)
    async def get_file(path: str) -> str:
        return path

    @app.get("/offers", dependencies=cached)
    async def get_offers(user: CurrentUser) -> str:
        return "members pay less"

    @app.get("/basket", dependencies=cached)
    async def get_basket(user: CurrentUser) -> str:
        return user

    return app
