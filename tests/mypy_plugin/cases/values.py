from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter
from shop_types import Product

from redis_fastapi import Cached, CacheEvict, CachePut, CacheRoute

router = APIRouter(route_class=CacheRoute)
HOUR: Final = 60 * 60
NOTHING: Final = 5 - 5


@router.get("/right/{product_id}")
async def right(product_id: int) -> Annotated[Product, Cached(HOUR, group=("a", "b"))]:
    return Product(id=product_id)


@router.get("/right-delta")
async def right_delta() -> Annotated[Product, Cached(ttl=timedelta(minutes=5))]:
    return Product(id=1)


@router.get("/zero")
async def zero() -> Annotated[Product, Cached(ttl=0)]:  # E:51 redis-cache-value ttl=0 of Cached is ambiguous
    return Product(id=1)


@router.get("/negative")
async def negative() -> Annotated[Product, Cached(-5)]:  # E:51 redis-cache-value ttl=-5 of Cached is not a lifetime
    return Product(id=1)


@router.get("/folded")
async def folded() -> Annotated[Product, Cached(ttl=60 * 5 - 300)]:  # E: redis-cache-value ttl=0
    return Product(id=1)


@router.get("/constant")
async def constant() -> Annotated[Product, Cached(ttl=NOTHING)]:  # E: redis-cache-value ttl=0
    return Product(id=1)


@router.get("/empty-group")
async def empty_group() -> Annotated[Product, Cached(ttl=5, group="")]:  # E: redis-cache-value group='' of Cached is neither
    return Product(id=1)


@router.get("/empty-name")
async def empty_name() -> Annotated[
    Product,
    Cached(
        ttl=5,
        group=("products", ""),  # E:15 redis-cache-value group=('products', '') of Cached is neither
    ),
]:
    return Product(id=1)


@router.get("/relative")
async def relative() -> Annotated[Product, Cached(ttl=5, key="products")]:  # E: redis-cache-value key='products' of Cached is neither a path
    return Product(id=1)


@router.delete("/nothing")
async def nothing() -> Annotated[None, CacheEvict()]:  # E: redis-cache-value CacheEvict names neither
    return None


@router.put("/zero-put")
async def zero_put() -> Annotated[Product, CachePut(ttl=0)]:  # E: redis-cache-value ttl=0 of CachePut
    return Product(id=1)


@router.get("/right-stale")
async def right_stale() -> Annotated[
    Product,
    Cached(60, stale_while_revalidate=30, stale_if_error=timedelta(hours=1), beta=1, jitter=0.1),
]:
    return Product(id=1)


@router.get("/right-local")
async def right_local() -> Annotated[Product, Cached(60, local=True)]:
    return Product(id=1)


@router.delete("/right-soft")
async def right_soft() -> Annotated[None, CacheEvict(group="products", soft=True)]:
    return None


@router.delete("/right-preconditions")
async def right_preconditions() -> Annotated[
    None, CacheEvict(group="products", preconditions=True)
]:
    return None


@router.get("/stale-without-ttl")
async def stale_without_ttl() -> Annotated[Product, Cached(stale_if_error=60)]:  # E: redis-cache-value stale_if_error=60 of Cached starts when
    return Product(id=1)


@router.get("/negative-stale")
async def negative_stale() -> Annotated[Product, Cached(60, stale_while_revalidate=-1)]:  # E: redis-cache-value stale_while_revalidate=-1 of Cached is not a time
    return Product(id=1)


@router.get("/beta")
async def negative_beta() -> Annotated[Product, Cached(60, beta=-1)]:  # E: redis-cache-value beta=-1 of Cached is not a number from 0
    return Product(id=1)


@router.get("/jitter")
async def whole_jitter() -> Annotated[Product, Cached(60, jitter=1.5)]:  # E: redis-cache-value jitter=1.5 of Cached is not a number from 0 and below 1
    return Product(id=1)


@router.get("/text-jitter")
async def text_jitter() -> Annotated[Product, Cached(60, jitter="0.1")]:  # E: arg-type Argument "jitter" to "Cached" has incompatible type "str"
    return Product(id=1)


@router.get("/right-downstream")
async def right_downstream() -> Annotated[
    Product,
    Cached(
        60,
        statuses={404: 10, 301: timedelta(hours=1)},
        cdn_ttl=3600,
        immutable=True,
        directives=("must-revalidate", 'ext="a b"'),
    ),
]:
    return Product(id=1)


@router.get("/part")
async def part() -> Annotated[Product, Cached(60, statuses={206: 10})]:  # E: redis-cache-value statuses={206: 10} of Cached does not give
    return Product(id=1)


@router.get("/no-lifetime")
async def no_lifetime() -> Annotated[Product, Cached(60, statuses={404: 0})]:  # E: redis-cache-value statuses={404: 0} of Cached does not give
    return Product(id=1)


@router.get("/no-cdn")
async def no_cdn() -> Annotated[Product, Cached(60, cdn_ttl=0)]:  # E: redis-cache-value cdn_ttl=0 of Cached is not a lifetime
    return Product(id=1)


@router.get("/directive")
async def directive() -> Annotated[Product, Cached(60, directives="must revalidate")]:  # E: redis-cache-value 'must revalidate' in directives of Cached is not
    return Product(id=1)


@router.get("/said")
async def said() -> Annotated[Product, Cached(60, directives=("S-MaxAge=9",))]:  # E: redis-cache-value 'S-MaxAge=9' in directives of Cached is said by cdn_ttl
    return Product(id=1)


@router.get("/private-cdn")
async def private_cdn() -> Annotated[Product, Cached(60, private=True, cdn_ttl=9)]:  # E: redis-cache-conflict cdn_ttl is for shared caches
    return Product(id=1)
