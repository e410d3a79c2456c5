from typing import Annotated

from fastapi import APIRouter
from shop_types import Product

from redis_fastapi import Cached, CacheEvict, CacheRoute

router = APIRouter(route_class=CacheRoute)


class Products:
    @router.get("/static/{product_id}")
    @staticmethod
    async def static(product_id: int) -> Annotated[Product, Cached(ttl=5, group="{product_id}")]:
        return Product(id=product_id)

    async def read(self, product_id: int) -> Annotated[Product, Cached(ttl=5, group="{product_id}")]:
        return Product(id=product_id)

    async def drop(self, product_id: int) -> Annotated[None, CacheEvict(group="{self.name}")]:  # E: redis-cache-placeholder names 'self', which is not a parameter of drop # static: checked where it is added, below
        return None


class Shelf:
    LIFETIME = 5

    @router.get("/class-scope")
    @staticmethod
    async def scoped() -> Annotated[Product, Cached(ttl=LIFETIME)]:
        return Product(id=1)


class View:
    product: Product

    @router.get("/view")
    async def mine(self) -> Annotated[str, Cached(ttl=5, vary="self.product.id")]:
        return self.product.name

    @router.get("/misspelt-view")
    async def misspelt(self) -> Annotated[str, Cached(ttl=5, vary="self.produkt.id")]:  # E: redis-cache-placeholder but "View" has no attribute "produkt" # static: mypy alone knows the type of self
        return self.product.name


class Reader:
    async def __call__(self) -> Annotated[Product, Cached(ttl=0)]:  # E: redis-cache-value ttl=0 of Cached # static: checked where it is added, below
        return Product(id=1)


products = Products()
router.add_api_route("/bound/{product_id}", products.read)
router.add_api_route("/dropped/{product_id}", products.drop, methods=["DELETE"])  # R: redis-cache-placeholder
router.add_api_route("/callable", Reader())  # R: redis-cache-value


def make_router(marker: Cached, lifetime: int) -> APIRouter:
    inner = APIRouter(route_class=CacheRoute)
    local = Cached(ttl=5)

    @inner.get("/marker")
    async def by_argument() -> Annotated[Product, marker]:
        return Product(id=1)

    @inner.get("/lifetime")
    async def by_lifetime() -> Annotated[Product, Cached(ttl=lifetime)]:
        return Product(id=1)

    @inner.get("/local")
    async def by_local() -> Annotated[Product, local]:
        return Product(id=1)

    return inner


def broken_router() -> APIRouter:
    inner = APIRouter(route_class=CacheRoute)

    @inner.get("/zero")
    async def zero() -> Annotated[Product, Cached(ttl=0)]:  # E: redis-cache-value ttl=0 of Cached # static: raised when the function is called, below
        return Product(id=1)

    return inner


made = make_router(Cached(ttl=5), 5)
broken = broken_router()  # R: redis-cache-value


@router.get("/stacked")
@router.post("/stacked")  # R: redis-cache-method
async def stacked() -> Annotated[Product, Cached(ttl=5)]:  # E: redis-cache-method Cached on POST
    return Product(id=1)
