"""The signed-in user's basket: one entry per user, as declared by ``vary``."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, status

from redis_fastapi import Cached, CacheEvict, CacheRoute

from .auth import CurrentUser
from .db import DatabaseDep, IntegrityError
from .models import Basket, BasketItem, ProductLine, Quantity, User

router = APIRouter(prefix="/basket", tags=["basket"], route_class=CacheRoute)


@router.get("")
async def get_basket(
    user: CurrentUser, database: DatabaseDep
) -> Annotated[Basket, Cached(ttl=300, vary="user.id", group=("basket:{user.id}", "catalogue"))]:
    """The basket; it shows prices, so it is evicted with the catalogue too."""
    return await _basket_of(user, database)


@router.put("/{product_id}")
async def put_item(
    product_id: int, wanted: Quantity, user: CurrentUser, database: DatabaseDep
) -> Annotated[Basket, CacheEvict(group="basket:{user.id}")]:
    """Have this many of a product."""
    try:
        await database.rows(
            "INSERT INTO basket_item VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET quantity = excluded.quantity",
            user.id,
            product_id,
            wanted.quantity,
        )
    except IntegrityError as error:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "no such product") from error
    return await _basket_of(user, database)


@router.delete("/{product_id}")
async def remove_item(
    product_id: int, user: CurrentUser, database: DatabaseDep
) -> Annotated[Basket, CacheEvict(group="basket:{user.id}")]:
    """Have none of a product."""
    await database.rows(
        "DELETE FROM basket_item WHERE user_id = ? AND product_id = ?", user.id, product_id
    )
    return await _basket_of(user, database)


async def _basket_of(user: User, database: DatabaseDep) -> Basket:
    rows = await database.rows(
        "SELECT product.id, name, category, price, quantity"
        " FROM basket_item JOIN product ON product.id = product_id"
        " WHERE user_id = ? ORDER BY name",
        user.id,
    )
    items = [
        BasketItem(product=ProductLine.model_validate(row), quantity=row["quantity"])
        for row in rows
    ]
    total = sum(item.product.price * item.quantity for item in items)
    return Basket(owner=user.name, items=items, total=total)
