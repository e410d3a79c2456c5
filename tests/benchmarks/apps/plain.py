"""Without any cache: what the endpoints cost by themselves."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from benchmarks.catalogue import Product, product_of


def build(size: int, route_class: type[APIRoute] = APIRoute) -> FastAPI:
    """The application."""
    app = FastAPI()
    app.include_router(products(size, route_class), prefix="/shop")
    return app


def products(size: int, route_class: type[APIRoute]) -> APIRouter:
    """The endpoints, as routes of a class."""
    answer = product_of(0, size)
    router = APIRouter(prefix="/products", route_class=route_class)

    @router.get("/{product_id}")
    async def get_product(product_id: int) -> Product:
        return answer

    @router.put("/{product_id}")
    async def put_product(product_id: int, product: Product) -> Product:
        return product

    @router.delete("/{product_id}")
    async def delete_product(product_id: int) -> None:
        return None

    @router.delete("")
    async def delete_products() -> None:
        return None

    return router
