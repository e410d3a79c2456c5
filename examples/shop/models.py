"""What the shop sends and takes. Prices are in cents."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

Cents = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class ProductLine(BaseModel):
    """A product as lists show it."""

    id: int
    name: str
    category: str
    price: Cents


class Product(ProductLine):
    """A product as its own page shows it."""

    description: str
    stock: Count


class ProductEdit(BaseModel):
    """What staff may write about a product."""

    name: Annotated[str, Field(min_length=1)]
    category: str
    price: Cents
    description: str = ""


class Stock(BaseModel):
    """How many of a product are there."""

    stock: Count


class Category(BaseModel):
    """A category and how many products it holds."""

    slug: str
    title: str
    products: Count


class CategoryPage(BaseModel):
    """A category with its products."""

    slug: str
    title: str
    products: list[ProductLine]


class CategoryEdit(BaseModel):
    """What staff may write about a category."""

    title: Annotated[str, Field(min_length=1)]


class Offer(ProductLine):
    """A product at the price that members pay."""

    member_price: Cents


class BasketItem(BaseModel):
    """Some of one product, at today's price."""

    product: ProductLine
    quantity: Count


class Basket(BaseModel):
    """What one user is about to buy."""

    owner: str
    items: list[BasketItem]
    total: Cents


class Quantity(BaseModel):
    """How many to put into the basket."""

    quantity: Annotated[int, Field(ge=1, le=100)]


class User(BaseModel):
    """Who is signed in."""

    id: int
    name: str
    staff: bool


class StockValue(BaseModel):
    """What the goods of one category are worth."""

    category: str
    pieces: Count
    value: Cents


class Health(BaseModel):
    """How the shop is."""

    redis: str
    visits: int | None
