from typing import Annotated

from fastapi import APIRouter, FastAPI
from shop_types import Product

from redis_fastapi import Cached, CacheRoute

app = FastAPI()
app.router.route_class = CacheRoute
router = APIRouter()
router.route_class = CacheRoute


@app.get("/app")
async def of_app() -> Annotated[Product, Cached(ttl=5)]:
    return Product(id=1)


@router.get("/router")
async def of_router() -> Annotated[Product, Cached(ttl=5)]:
    return Product(id=1)
