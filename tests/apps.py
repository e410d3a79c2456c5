"""Small applications for tests, and clients that serve them as a server would."""

import asyncio
import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, FastAPI
from pydantic import BaseModel
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from redis_fastapi import (
    Cached,
    CacheEvict,
    CacheRoute,
    FastAPIRedis,
    RedisSettings,
    get_async_redis,
)

HOST = "http://testserver"


class Product(BaseModel):
    """What most endpoints here return."""

    id: int
    name: str = "tea"


@functools.cache  # reading the environment takes longer than most requests
def memory_settings(**values: Any) -> RedisSettings:
    """The embedded server, with time enough for a busy machine."""
    return RedisSettings(**{"url": "memory://", "deadline": 5.0, **values})


def caching_app(settings: RedisSettings | None = None, **options: Any) -> FastAPI:
    """An application set up as in the README."""
    app = FastAPI(**options)
    FastAPIRedis(app, settings or memory_settings()).lifespan().caching()
    return app


def endpoints_seen_by_middleware(app: FastAPI) -> list[Any]:
    """A list to which each request adds the endpoint that middleware finds in its scope."""
    seen: list[Any] = []

    @app.middleware("http")
    async def look(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        seen.append(request.scope["endpoint"])
        return response

    return seen


def cache_router(**options: Any) -> APIRouter:
    """A router that reads markers."""
    return APIRouter(route_class=CacheRoute, **options)


ITEM_READ = "GET /items/{item_id}"
ITEM_WRITE = "DELETE /items/{item_id}"


def with_items(app: FastAPI) -> FastAPI:
    """The application with a read, and a write that evicts its group."""

    @app.get("/items/{item_id}")
    async def get_item(item_id: int) -> Annotated[int, Cached(60, group="items")]:
        return item_id

    @app.delete("/items/{item_id}")
    async def delete_item(item_id: int) -> Annotated[None, CacheEvict(group="items")]: ...

    return app


def override_redis(app: FastAPI, client: Redis) -> None:
    """Serve an application from this client, the way a test of an application does."""
    app.dependency_overrides[get_async_redis] = lambda: client


@asynccontextmanager
async def serving(
    app: FastAPI, client: Redis | None = None, **options: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application whose lifespan runs, in this event loop.

    The lifespan's state reaches each request, as servers have it; options are httpx's.
    """
    if client is not None:
        override_redis(app, client)
    async with app.router.lifespan_context(app) as state:

        async def app_with_state(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        async with client_of(app_with_state, **options) as http:
            yield http


def client_of(app: Any, **options: Any) -> httpx.AsyncClient:
    """A client in this event loop; no lifespan runs."""
    transport = httpx.ASGITransport(app=app, **options)
    return httpx.AsyncClient(transport=transport, base_url=HOST)


def state_of(response: httpx.Response) -> str | None:
    """How the cache was used: HIT, MISS, BYPASS, or None."""
    state: str | None = response.headers.get("x-redis-cache")
    return state


async def states(http: httpx.AsyncClient, *paths: str, **options: Any) -> list[str | None]:
    """How the cache was used for each of these paths, read one after the other."""
    return [state_of(await http.get(path, **options)) for path in paths]


class Gate:
    """Holds callers until it is opened, and shows that one has arrived."""

    def __init__(self) -> None:
        self._reached = asyncio.Event()
        self._opened = asyncio.Event()

    async def pass_through(self) -> None:
        self._reached.set()
        await asyncio.wait_for(self._opened.wait(), 10)

    async def reached(self) -> None:
        await asyncio.wait_for(self._reached.wait(), 10)

    def open(self) -> None:
        self._opened.set()
