from typing import Annotated, Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from shop_types import Product, cache_router, plain_router

from redis_fastapi import Cached, CacheRoute, FastAPIRedis, InvalidatingRoute


class Own(CacheRoute):
    pass


class Timed(APIRoute):
    pass


def make() -> APIRouter:
    return APIRouter(route_class=CacheRoute)


def options() -> dict[str, Any]:
    return {"route_class": CacheRoute}


def chosen() -> type[APIRoute]:
    return CacheRoute


own = APIRouter(route_class=Own)
invalidating = APIRouter(route_class=InvalidatingRoute)
timed = APIRouter(route_class=Timed)
plain = APIRouter()
made = make()
spread = APIRouter(**options())
choice = APIRouter(route_class=chosen())
app = FastAPI()
FastAPIRedis(app).caching()
bare = FastAPI()


@own.get("/own")
async def of_own() -> Annotated[Product, Cached(ttl=5)]:
    return Product(id=1)


@invalidating.get("/invalidating")
async def of_invalidating() -> Annotated[Product, Cached(ttl=5)]:
    return Product(id=1)


@made.get("/made")
async def of_made() -> Annotated[Product, Cached(ttl=5)]:
    return Product(id=1)


@spread.get("/spread")
async def of_spread() -> Annotated[Product, Cached(ttl=5)]:
    return Product(id=1)


@choice.get("/choice")
async def of_choice() -> Annotated[Product, Cached(ttl=5)]:
    return Product(id=1)


@cache_router.get("/imported")
async def of_imported() -> Annotated[Product, Cached(ttl=5)]:
    return Product(id=1)


@app.get("/app")
async def of_app() -> Annotated[Product, Cached(ttl=5)]:
    return Product(id=1)


@plain.get("/unmarked")
async def unmarked() -> Product:
    return Product(id=1)


@plain.get("/plain")
async def of_plain() -> Annotated[Product, Cached(ttl=5)]:  # E:44 redis-cache-route Cached has no effect
    return Product(id=1)


@timed.get("/timed")
async def of_timed() -> Annotated[Product, Cached(ttl=5)]:  # E: redis-cache-route Cached has no effect
    return Product(id=1)


@plain_router.get("/plain-imported")
async def of_plain_imported() -> Annotated[Product, Cached(ttl=5)]:  # E: redis-cache-route Cached has no effect
    return Product(id=1)


@bare.get("/bare")
async def of_bare() -> Annotated[Product, Cached(ttl=5)]:  # E: redis-cache-route Cached has no effect
    return Product(id=1)
