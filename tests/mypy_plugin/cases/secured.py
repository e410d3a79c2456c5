from typing import Annotated

from fastapi import APIRouter, Depends, Security
from fastapi.security import APIKeyHeader, HTTPBearer
from shop_types import CurrentUser, Product, User, bearer, current_user

from redis_fastapi import Cached, CacheEvict, CacheRoute

router = APIRouter(route_class=CacheRoute)
api_key = APIKeyHeader(name="x-key")


def plain() -> User:
    return User(id=1)


def nested(user: CurrentUser) -> str:
    return user.team


def by_default(user: User = Depends(current_user)) -> str:
    return user.team


@router.get("/vary")
async def right_vary(user: CurrentUser) -> Annotated[Product, Cached(ttl=5, vary="user.id")]:
    return Product(id=user.id)


@router.get("/shared")
async def right_shared(user: CurrentUser) -> Annotated[Product, Cached(ttl=5, shared=True)]:
    return Product(id=1)


@router.get("/keyed")
async def right_keyed(user: CurrentUser) -> Annotated[Product, Cached(ttl=5, shared=False)]:
    return Product(id=1)


@router.get("/guarded", dependencies=[Depends(current_user)])
async def right_guarded() -> Annotated[Product, Cached(ttl=5)]:
    return Product(id=1)


@router.get("/open")
async def right_open(user: Annotated[User, Depends(plain)]) -> Annotated[Product, Cached(ttl=5)]:
    return Product(id=user.id)


@router.delete("/evict")
async def right_evict(user: CurrentUser) -> Annotated[None, CacheEvict(group="a")]:
    return None


@router.get("/user")
async def of_user(user: CurrentUser) -> Annotated[Product, Cached(ttl=5)]:  # E:60 redis-cache-secured parameter 'user' comes from a security scheme
    return Product(id=user.id)


@router.get("/scheme")
async def of_scheme(token: Annotated[object, Depends(bearer)]) -> Annotated[Product, Cached(ttl=5)]:  # E: redis-cache-secured parameter 'token'
    return Product(id=1)


@router.get("/made")
async def of_made(token: Annotated[object, Depends(HTTPBearer())]) -> Annotated[Product, Cached(ttl=5)]:  # E: redis-cache-secured parameter 'token'
    return Product(id=1)


@router.get("/key")
async def of_key(key: str = Security(api_key)) -> Annotated[Product, Cached(ttl=5)]:  # E: redis-cache-secured parameter 'key'
    return Product(id=1, name=key)


@router.get("/nested")
async def of_nested(team: Annotated[str, Depends(nested)]) -> Annotated[Product, Cached(ttl=5)]:  # E: redis-cache-secured parameter 'team'
    return Product(id=1, name=team)


@router.get("/default")
async def of_default(team: Annotated[str, Depends(by_default)]) -> Annotated[Product, Cached(ttl=5)]:  # E: redis-cache-secured parameter 'team'
    return Product(id=1, name=team)
