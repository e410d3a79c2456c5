"""What the other cases import: models, a router, aliases and markers of another module."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from typing_extensions import TypeAliasType

from redis_fastapi import Cached, CacheRoute


class Product(BaseModel):
    id: int
    name: str = "tea"


class Receipt(BaseModel):
    number: int


class User(BaseModel):
    id: int
    team: str = "red"


bearer = HTTPBearer()


async def current_user(
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)],
) -> User:
    return User(id=len(credentials.credentials))


CurrentUser = Annotated[User, Depends(current_user)]

cache_router = APIRouter(route_class=CacheRoute)
plain_router = APIRouter()

SHORT = Cached(ttl=5)
NEVER = Cached(ttl=0)


def lasting(seconds: int) -> Cached:
    return Cached(ttl=seconds)


ShortProduct = Annotated[Product, SHORT]
NeverProduct = Annotated[Product, Cached(ttl=0)]
ProductById = Annotated[Product, Cached(ttl=5, group="product:{product_id}")]
DeferredProduct = TypeAliasType("DeferredProduct", Annotated[Product, Cached(ttl=-1)])
