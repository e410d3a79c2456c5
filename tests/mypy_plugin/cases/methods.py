from typing import Annotated

from fastapi import APIRouter
from shop_types import Product

from redis_fastapi import Cached, CacheEvict, CachePut, CacheRoute

router = APIRouter(route_class=CacheRoute)
METHODS = ["GET"]


@router.api_route("/right", methods=["GET", "HEAD"])
async def right() -> Annotated[Product, Cached(ttl=5)]:
    return Product(id=1)


@router.api_route("/unknown", methods=METHODS)
async def unknown() -> Annotated[Product, Cached(ttl=5)]:
    return Product(id=1)


@router.get("/counts-views")
async def evict_on_get() -> Annotated[Product, Cached(ttl=5), CacheEvict(group="views")]:
    return Product(id=1)


@router.post("/created")
async def on_post() -> Annotated[Product, Cached(ttl=5)]:  # E:43 redis-cache-method Cached on POST: only GET
    return Product(id=1)


@router.get("/put-on-get")
async def put_on_get() -> Annotated[Product, CachePut(ttl=5)]:  # E: redis-cache-method CachePut on GET
    return Product(id=1)


@router.api_route("/both", methods=["get", "delete"])
async def both() -> Annotated[Product, Cached(ttl=5)]:  # E: redis-cache-method Cached on DELETE
    return Product(id=1)


def added() -> Annotated[Product, Cached(ttl=5)]:  # E: redis-cache-method Cached on PATCH # static: checked where it is added, below
    return Product(id=1)


router.add_api_route("/added", added, methods=["PATCH"])  # R: redis-cache-method
