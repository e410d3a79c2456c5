"""An application for the command line, found by its name: reads, writes, a user and a mistake."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Request
from fastapi.security import HTTPBearer
from pydantic import BaseModel

from redis_fastapi import Cached, CacheEvict, CachePut, CacheRoute, FastAPIRedis, cache

RAN: list[str] = []
"""Endpoints that ran."""


class User(BaseModel):
    id: int


@asynccontextmanager
async def with_users(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    yield {"users": {"anna": User(id=1)}}


def current_user(request: Request, token: Annotated[Any, Depends(HTTPBearer())]) -> User:
    users: dict[str, User] = request.state.users
    if token.credentials not in users:
        raise HTTPException(401)
    return users[token.credentials]


app = FastAPI(lifespan=with_users)
FastAPIRedis(app).lifespan().caching()
router = APIRouter(prefix="/products", route_class=CacheRoute)


@router.get("/{product_id}")
async def get_product(
    product_id: int, lang: Annotated[str, Header()] = "en"
) -> Annotated[dict[str, str], Cached(ttl=300, group=("products", "product:{product_id}"))]:
    RAN.append("get_product")
    return {"name": f"{product_id} {lang}"}


@router.put("/{number}")
async def put_product(number: int) -> Annotated[None, CacheEvict(group="product:{number}")]:
    RAN.append("put_product")


@router.delete("")
async def delete_products() -> Annotated[None, CacheEvict(group="products")]: ...


@app.get("/basket")
async def basket(
    user: Annotated[User, Depends(current_user)],
) -> Annotated[list[int], Cached(ttl=60, vary="user.id")]:
    RAN.append("basket")
    return [user.id]


@app.get("/page")
async def page() -> Annotated[str, Cached()]:
    RAN.append("page")
    return "page"


@app.put("/page")
async def put_page() -> Annotated[str, CachePut()]:
    return "new"


@app.get("/never", dependencies=[Depends(cache(ttl=60))])
async def never(request: Request) -> str:
    RAN.append("never")
    return "no"


@app.get("/broken")
async def broken() -> Annotated[str, Cached(ttl=60)]:
    RAN.append("broken")
    raise RuntimeError("broken")


@app.get("/plain")
async def plain() -> str:
    RAN.append("plain")
    return "plain"


app.include_router(router)

wrong = FastAPI()
FastAPIRedis(wrong).lifespan().caching()


@wrong.put("/nobody/reads/this")
async def wrong_put() -> Annotated[str, CachePut()]:
    return ""


misspelt = FastAPI()
FastAPIRedis(misspelt).lifespan().caching()


@misspelt.get("/products")
async def get_all() -> Annotated[str, Cached(ttl=60, group="products")]:
    return ""


@misspelt.delete("/products")
async def delete_all() -> Annotated[None, CacheEvict(group="product")]: ...


nothing = FastAPI()
