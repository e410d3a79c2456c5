"""Endpoints whose annotations are texts, with a name that exists only while type checking."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated

from fastapi import Query

from apps import Product

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["Annotated", "endpoints"]


def endpoints() -> SimpleNamespace:
    """New functions at each call, so that a test may change their annotations."""

    async def read(product_id: int, q: Annotated[int, Query(ge=1)] = 1) -> Product:
        return Product(id=product_id * q)

    def quoted(n: int) -> list[Product]:
        return [Product(id=n)]

    async def checked() -> Decimal:
        return {"id": 1}  # type: ignore[return-value]  # FastAPI validates it

    async def write(product: Product) -> Product:
        return product

    return SimpleNamespace(read=read, quoted=quoted, checked=checked, write=write)
