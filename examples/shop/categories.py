"""Categories: the list of them is cached by a dependency, a page by its return type."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, status

from redis_fastapi import Cached, CacheEvict, CacheRoute, cache

from .auth import staff_only
from .db import DatabaseDep
from .models import Category, CategoryEdit, CategoryPage, ProductLine

router = APIRouter(prefix="/categories", tags=["categories"], route_class=CacheRoute)

COUNTED = (
    "SELECT slug, title, (SELECT count(*) FROM product WHERE category = slug) AS products"
    " FROM category"
)


@router.get("", dependencies=[Depends(cache(ttl=3600, eviction_group="catalogue"))])
async def list_categories(database: DatabaseDep) -> list[Category]:
    """All categories, with the number of products in each."""
    rows = await database.rows(f"{COUNTED} ORDER BY title")
    return [Category.model_validate(row) for row in rows]


@router.get("/{slug}")
async def get_category(
    slug: str, database: DatabaseDep
) -> Annotated[CategoryPage, Cached(ttl=300, group=("catalogue", "category:{slug}"))]:
    """A category and its products."""
    category = await _category_or_404(database, slug)
    lines = await database.rows(
        "SELECT id, name, category, price FROM product WHERE category = ? ORDER BY price", slug
    )
    products = [ProductLine.model_validate(line) for line in lines]
    return CategoryPage(slug=slug, title=category["title"], products=products)


@router.put("/{slug}", dependencies=[staff_only])
async def rename_category(
    slug: str, edit: CategoryEdit, database: DatabaseDep
) -> Annotated[Category, CacheEvict(group="category:{slug}", key=list_categories)]:
    """Give a category another title; the pages of the others stay cached."""
    await database.rows("UPDATE category SET title = ? WHERE slug = ?", edit.title, slug)
    return Category.model_validate(await _category_or_404(database, slug))


@router.post("/{slug}/sale", dependencies=[staff_only])
async def start_sale(
    slug: str, percent: Annotated[int, Query(ge=1, le=90)], database: DatabaseDep
) -> Annotated[Category, CacheEvict(group=("products", "catalogue", "stock"))]:
    """Lower all prices of a category; three evictions, however many pages show them."""
    await database.rows(
        "UPDATE product SET price = price * (100 - ?) / 100 WHERE category = ?", percent, slug
    )
    return Category.model_validate(await _category_or_404(database, slug))


async def _category_or_404(database: DatabaseDep, slug: str) -> dict[str, Any]:
    row = await database.row(f"{COUNTED} WHERE slug = ?", slug)
    if row is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "no such category")
    return row
