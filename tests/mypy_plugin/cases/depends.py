from fastapi import APIRouter, Depends
from shop_types import Product

from redis_fastapi import CacheRoute, cache, cache_evict, cache_put

router = APIRouter(route_class=CacheRoute)


@router.get("/right", dependencies=[Depends(cache(ttl=0, eviction_group="a {brace"))])
async def right() -> Product:
    return Product(id=1)


@router.put("/right", dependencies=[Depends(cache_put(ttl=60)), Depends(cache_evict())])
async def right_put() -> Product:
    return Product(id=1)


@router.get("/negative", dependencies=[Depends(cache(ttl=-1))])  # E:58 redis-cache-value ttl=-1 of Cached is not a lifetime # N: Depends(cache(ttl=300))
async def negative() -> Product:
    return Product(id=1)


@router.put("/put", dependencies=[Depends(cache_put(-1))])  # E:53 redis-cache-value ttl=-1 of CachePut
async def negative_put() -> Product:
    return Product(id=1)


@router.get("/shared/{team}", dependencies=[Depends(cache(vary="team", shared=True))])  # E: redis-cache-conflict vary selects an entry
async def shared(team: str) -> Product:
    return Product(id=1)


@router.get("/native", dependencies=[Depends(cache(ttl="5"))])  # E: arg-type Argument "ttl" to "cache" has incompatible type "str"
async def native() -> Product:
    return Product(id=1)
