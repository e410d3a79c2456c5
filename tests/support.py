"""Small applications for tests: a cached endpoint through either front door, and its server."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from fastapi import APIRouter, Depends, FastAPI
from fastapi.testclient import TestClient
from httpx import ASGITransport, AsyncClient, Response
from redis.asyncio import Redis
from starlette.applications import Starlette

from redis_fastapi import (
    Cached,
    CacheRoute,
    FastAPIRedis,
    RedisSettings,
    cache,
    get_async_redis,
)

Body = dict[str, Any]
Endpoint = Callable[..., Any]


@functools.cache  # reading the environment takes longer than most requests
def settings(**changes: Any) -> RedisSettings:
    """Settings on the embedded server, patient enough for a busy machine."""
    return RedisSettings(**({"url": "memory://", "deadline": 5.0} | changes))


def new_app(*, using: RedisSettings | None = None, **options: Any) -> FastAPI:
    """An application with lifespan and caching."""
    app = FastAPI(**options)
    FastAPIRedis(app, using or settings()).lifespan().caching()
    return app


@contextmanager
def serving(app: Starlette, **options: Any) -> Iterator[TestClient]:
    """A client of an application whose lifespan runs."""
    with TestClient(app, **options) as client:
        yield client


def start_up(app: FastAPI) -> None:
    """Enter and leave the lifespan; where that fails, an older TestClient would leak streams."""

    async def enter_and_leave() -> None:
        async with app.router.lifespan_context(app):
            pass

    asyncio.run(enter_and_leave())


@asynccontextmanager
async def calling(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client on this event loop; no lifespan runs."""
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test") as client:
        yield client


def state_of(response: Response) -> str | None:
    """How the cache was used."""
    value: str | None = response.headers.get("x-redis-cache")
    return value


def directives_of(response: Response) -> set[str]:
    """The directives of Cache-Control."""
    control = response.headers.get("cache-control", "")
    return {part.strip() for part in control.split(",") if part.strip()}


@dataclass(frozen=True)
class Door:
    """One way to say that a GET is cached; ``marker`` or ``dependency``."""

    name: str

    def get(
        self,
        on: FastAPI | APIRouter,
        path: str,
        *,
        ttl: int = 60,
        returns: Any = Body,
        dependencies: tuple[Any, ...] = (),
        route: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Callable[[Endpoint], Endpoint]:
        """Register the decorated endpoint as a cached GET; ``options`` are the declaration's."""

        def register(endpoint: Endpoint) -> Endpoint:
            guards = list(dependencies)
            if self.name == "marker":
                annotation = Annotated[returns, Cached(ttl, **options)]
                endpoint.__annotations__["return"] = annotation
            else:
                endpoint.__annotations__["return"] = returns
                guards.append(Depends(cache(ttl, **options)))
            on.add_api_route(path, endpoint, dependencies=guards, **(route or {}))
            return endpoint

        return register

    def router(self, **options: Any) -> APIRouter:
        """A router that reads this declaration."""
        if self.name == "marker":
            options["route_class"] = CacheRoute
        return APIRouter(**options)


MARKER = Door("marker")
DEPENDENCY = Door("dependency")

both_doors = pytest.mark.parametrize("door", [MARKER, DEPENDENCY], ids=lambda door: door.name)
"""The same test with the marker in the return type and with ``Depends(cache())``."""


@dataclass
class Runs:
    """Counts what ran."""

    names: list[str] = field(default_factory=list)

    def note(self, name: str = "ran") -> int:
        """Remember one run; which one it was, from 1."""
        self.names.append(name)
        return len(self.names)

    def __len__(self) -> int:
        return len(self.names)


def share_server(app: FastAPI, server: FakeServer) -> None:
    """Serve an application from an embedded server that others use too."""

    async def client_on_server() -> AsyncIterator[Redis]:
        async with FakeAsyncRedis(server=server) as client:
            yield client

    app.dependency_overrides[get_async_redis] = client_on_server


def share_client(app: FastAPI, client: Redis) -> None:
    """Serve an application from a test's own client."""
    app.dependency_overrides[get_async_redis] = lambda: client


async def keys_of(client: Redis, kind: str = "") -> list[bytes]:
    """Keys in Redis, of one kind (``e:`` entries) or of all."""
    found = await client.keys(f"*:{kind}*" if kind else "*")
    return sorted(key for key in found if isinstance(key, bytes))


def header_fields(*lines: str) -> list[tuple[bytes, bytes]]:
    """Header lines written as `name: value`."""
    return [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, _, value in (line.partition(": ") for line in lines)
    ]
