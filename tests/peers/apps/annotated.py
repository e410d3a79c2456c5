"""On this library."""

from typing import Annotated

from fastapi import FastAPI, Header

from peers.shop import CurrentUser, Shelf
from redis_fastapi import Cached, CacheDeclarationError, CacheEvict, FastAPIRedis


def build(shelf: Shelf) -> FastAPI:
    app = FastAPI()
    FastAPIRedis(app).lifespan().caching()

    @app.get("/items/{item_id}")
    async def get_item(item_id: int) -> Annotated[int, Cached(ttl=300, group="items")]:
        return item_id

    @app.delete("/items")
    async def delete_items() -> Annotated[None, CacheEvict(group="items")]:
        return None

    @app.get("/price")
    async def get_price() -> Annotated[int, Cached(ttl=300, group="items")]:
        return await shelf.read()

    @app.get("/greeting")
    async def get_greeting(
        accept_language: Annotated[str, Header()],
    ) -> Annotated[str, Cached(ttl=300)]:
        return accept_language

    @app.get("/files/{path:path}")
    async def get_file(path: str) -> Annotated[str, Cached(ttl=300)]:
        return path

    @app.get("/offers")
    async def get_offers(user: CurrentUser) -> Annotated[str, Cached(ttl=300, shared=True)]:
        return "members pay less"

    try:

        @app.get("/basket")
        async def get_basket(
            user: CurrentUser,
            # the refusal is what is asked about
        ) -> Annotated[str, Cached(ttl=300)]:  # type: ignore[redis-cache-secured]
            return user

    except CacheDeclarationError:
        app.state.refused = True
    return app
