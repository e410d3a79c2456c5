"""An expensive report, cached by hand: what is stored is a value, not a response."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter

from redis_fastapi import CacheBackendDep

from .auth import staff_only
from .db import Database, DatabaseDep
from .models import StockValue

router = APIRouter(prefix="/report", tags=["report"], dependencies=[staff_only])


@router.get("")
async def stock_report(cache: CacheBackendDep, database: DatabaseDep) -> list[StockValue]:
    """The worth of the stock by category; computed once, until the stock or a price changes."""
    return await cache.get_or_set(
        "stock-value",
        _computed_from(database),
        type=list[StockValue],
        ttl=600,
        eviction_group="stock",
    )


def _computed_from(database: Database) -> Callable[[], Awaitable[list[StockValue]]]:
    async def compute_stock_value() -> list[StockValue]:
        rows = await database.rows(
            "SELECT category, sum(stock) AS pieces, sum(stock * price) AS value"
            " FROM product GROUP BY category ORDER BY value DESC"
        )
        return [StockValue.model_validate(row) for row in rows]

    return compute_stock_value
