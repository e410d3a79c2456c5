from typing import Annotated

from fastapi import APIRouter
from shop_types import Product, Receipt

from redis_fastapi import Cached, CachePut, CacheRoute

router = APIRouter(route_class=CacheRoute)
other = APIRouter(route_class=CacheRoute, prefix="/other")


@router.get("/products/{product_id}")
async def get_product(product_id: int) -> Annotated[Product, Cached(ttl=5, group="products")]:
    return Product(id=product_id)


@router.get("/rows")
async def get_rows() -> Annotated[list[Product], Cached(ttl=5)]:
    return []


@other.get("/receipts/{number}")
async def get_receipt(number: int) -> Annotated[Receipt, Cached(ttl=5)]:
    return Receipt(number=number)


@router.put("/products/{number}")
async def right(number: int) -> Annotated[Product, CachePut()]:
    return Product(id=number)


@other.put("/receipts/{number}")
async def right_other(number: int) -> Annotated[Receipt, CachePut()]:
    return Receipt(number=number)


@router.patch("/products/{product_id}")
async def other_model(product_id: int) -> Annotated[Receipt, CachePut()]:  # E:62 redis-cache-put CachePut returns a different model than GET /products/{product_id} (get_product)
    return Receipt(number=product_id)


@router.post("/products/{product_id}")
async def other_group(product_id: int) -> Annotated[Product, CachePut(group="product")]:  # E:77 redis-cache-put CachePut says group=('product',), GET /products/{product_id} (get_product) says ('products',)
    return Product(id=product_id)


@router.put("/rows")
async def one_row() -> Annotated[Product, CachePut()]:  # E: redis-cache-put CachePut returns a different model
    return Product(id=1)
