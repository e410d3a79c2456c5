from typing import Annotated, Any

from fastapi import APIRouter, Depends
from shop_types import Product, User
from typing_extensions import TypedDict

from redis_fastapi import Cached, CacheEvict, CacheRoute

router = APIRouter(route_class=CacheRoute)


class Session(TypedDict):
    token: str


def session() -> Session:
    return {"token": "t"}


def visitor() -> User | None:
    return None


def headers() -> dict[str, str]:
    return {}


SessionDep = Annotated[Session, Depends(session)]
VisitorDep = Annotated[User | None, Depends(visitor)]
HeadersDep = Annotated[dict[str, str], Depends(headers)]
AnyDep = Annotated[Any, Depends(headers)]


@router.get("/right/{product_id}")
async def right(
    product_id: int, visitor: VisitorDep, session: SessionDep, headers: HeadersDep, some: AnyDep
) -> Annotated[
    Product,
    Cached(
        ttl=5,
        group=("p:{product_id}", "u:{visitor.id}", "s:{session.token}", "{{braces}}"),
        vary=("headers.accept", "some.thing.else_", "visitor.id"),
        key="/right/{product_id}",
    ),
]:
    return Product(id=product_id)


@router.get("/unknown/{product_id}")
async def unknown(
    product_id: int,
) -> Annotated[Product, Cached(ttl=5, group="product:{produkt_id}")]:  # E:54 redis-cache-placeholder group='product:{produkt_id}' of Cached names 'produkt_id', which is not a parameter of unknown; did you mean 'product_id'?
    return Product(id=product_id)


@router.get("/second/{product_id}")
async def second(
    product_id: int,
) -> Annotated[Product, Cached(ttl=5, group=("products", "product:{id}"))]:  # E:67 redis-cache-placeholder names 'id', which is not a parameter
    return Product(id=product_id)


@router.get("/malformed/{product_id}")
async def malformed(
    product_id: int,
) -> Annotated[Product, Cached(ttl=5, group="product:{product_id")]:  # E: redis-cache-placeholder group='product:{product_id' of Cached is malformed
    return Product(id=product_id)


@router.get("/formatted/{product_id}")
async def formatted(
    product_id: int,
) -> Annotated[Product, Cached(ttl=5, group="product:{product_id:03d}")]:  # E: redis-cache-placeholder takes no format or conversion
    return Product(id=product_id)


@router.get("/key/{product_id}")
async def by_key(
    product_id: int,
) -> Annotated[Product, Cached(ttl=5, key="/products/{number}")]:  # E: redis-cache-placeholder key='/products/{number}' of Cached names 'number'
    return Product(id=product_id)


@router.get("/vary/{product_id}")
async def by_vary(
    product_id: int, visitor: VisitorDep
) -> Annotated[Product, Cached(ttl=5, vary="visiter.id")]:  # E:45 redis-cache-placeholder vary='visiter.id' of Cached names 'visiter', which is not a parameter of by_vary; did you mean 'visitor'?
    return Product(id=product_id)


@router.get("/attribute/{product_id}")
async def attribute(
    product_id: int, visitor: VisitorDep
) -> Annotated[Product, Cached(ttl=5, vary="visitor.idd")]:  # E:45 redis-cache-placeholder vary='visitor.idd' of Cached names 'visitor.idd', but "User" has no attribute "idd"
    return Product(id=product_id)


@router.put("/body/{product_id}")
async def body(
    product_id: int, product: Product
) -> Annotated[Product, CacheEvict(group=("all", "name:{product.nam}"))]:  # E:56 redis-cache-placeholder but "Product" has no attribute "nam"; maybe "name"? # N: -> Annotated[Product, CacheEvict(group=('all',))]
    return product


@router.put("/whole/{product_id}")
async def whole(
    product_id: int, product: Product
) -> Annotated[Product, CacheEvict(key="/products/{product}")]:  # E: redis-cache-placeholder key='/products/{product}' of CacheEvict names 'product', but 'Product' has no text of its own; name a value in it
    return product


@router.get("/key-of-dict/{product_id}")
async def key_of_dict(
    product_id: int, session: SessionDep
) -> Annotated[Product, Cached(ttl=5, vary="session.tokn")]:  # E: redis-cache-placeholder but its type has no key 'tokn'
    return Product(id=product_id)
