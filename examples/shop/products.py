"""Products: a page each, lists of them, and what staff may change.

Groups
- ``products``            every product's page
- ``product:{product_id}``  the page of one product
- ``catalogue``           whatever shows several products: lists, categories, offers, baskets
- ``stock``               what is computed from the stock
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, status

from redis_fastapi import Cached, CacheEvict, CachePut, CacheRoute

from .auth import staff_only
from .db import DatabaseDep, IntegrityError
from .models import Product, ProductEdit, ProductLine, Stock

router = APIRouter(prefix="/products", tags=["products"], route_class=CacheRoute)

LINE = "id, name, category, price"
PAGE = "id, name, category, price, description, stock"


@router.get("")
async def list_products(
    database: DatabaseDep,
    search: str = "",
    max_price: Annotated[int | None, Query(ge=0)] = None,
) -> Annotated[list[ProductLine], Cached(ttl=60, group="catalogue", when=bool)]:
    """Products by name; each search has its entry, and one that found nothing has none."""
    return [
        ProductLine.model_validate(row)
        for row in await database.rows(
            f"SELECT {LINE} FROM product"
            " WHERE instr(lower(name), lower(?)) AND price <= coalesce(?, price) ORDER BY name",
            search,
            max_price,
        )
    ]


@router.get("/{product_id}")
async def get_product(
    product_id: int, database: DatabaseDep
) -> Annotated[Product, Cached(ttl=300, group=("products", "product:{product_id}"))]:
    """One product."""
    return _product_or_404(
        await database.row(f"SELECT {PAGE} FROM product WHERE id = ?", product_id)
    )


@router.post("", status_code=status.HTTP_201_CREATED, dependencies=[staff_only])
async def add_product(
    product: ProductEdit, database: DatabaseDep
) -> Annotated[Product, CacheEvict(group=("catalogue", "stock"))]:
    """A new product; it shows up in lists at once."""
    return await _written(
        database,
        "INSERT INTO product (name, category, price, description) VALUES (?, ?, ?, ?)",
        *_columns(product),
    )


@router.put("/{product_id}", dependencies=[staff_only])
async def put_product(
    product_id: int, product: ProductEdit, database: DatabaseDep
) -> Annotated[Product, CachePut(ttl=300), CacheEvict(group=("catalogue", "stock"))]:
    """Change a product; the response becomes that of the next GET."""
    return await _written(
        database,
        "UPDATE product SET name = ?, category = ?, price = ?, description = ? WHERE id = ?",
        *_columns(product),
        product_id,
    )


@router.patch("/{product_id}/stock", dependencies=[staff_only])
async def count_stock(
    product_id: int, counted: Stock, database: DatabaseDep
) -> Annotated[Stock, CacheEvict(key="/products/{product_id}", group="stock")]:
    """Correct the stock, which only the product's own page shows."""
    await _written(database, "UPDATE product SET stock = ? WHERE id = ?", counted.stock, product_id)
    return counted


@router.delete("/{product_id}", status_code=status.HTTP_204_NO_CONTENT, dependencies=[staff_only])
async def delete_product(
    product_id: int, database: DatabaseDep
) -> Annotated[None, CacheEvict(key=get_product), CacheEvict(group=("catalogue", "stock"))]:
    """Take a product out of the shop and out of all baskets."""
    await _written(database, "DELETE FROM product WHERE id = ?", product_id)


def _columns(product: ProductEdit) -> tuple[Any, ...]:
    return product.name, product.category, product.price, product.description


async def _written(database: DatabaseDep, sql: str, *values: Any) -> Product:
    """The product that a statement wrote; 404 where it wrote none, 409 where it may not."""
    try:
        return _product_or_404(await database.row(f"{sql} RETURNING {PAGE}", *values))
    except IntegrityError as error:
        raise HTTPException(status.HTTP_409_CONFLICT, str(error)) from error


def _product_or_404(row: dict[str, Any] | None) -> Product:
    if row is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "no such product")
    return Product.model_validate(row)
