"""The data that all measured applications serve."""

from __future__ import annotations

from pydantic import BaseModel


class Product(BaseModel):
    """A product whose description fills its JSON up to a size."""

    id: int
    name: str
    price: float
    tags: list[str]
    description: str


def product_of(number: int, size: int) -> Product:
    """The product of this number, `size` bytes as JSON."""
    product = Product(
        id=number, name=f"Product {number}", price=9.95, tags=["new", "garden"], description=""
    )
    missing = size - len(product.model_dump_json())
    return product.model_copy(update={"description": "x" * missing})
