"""The bare response after one GET of the redis-py client, as it comes by default."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from benchmarks.catalogue import product_of


class _RoundTrip(Starlette):
    def __init__(self, size: int) -> None:
        super().__init__(lifespan=self._open)
        self._body = product_of(0, size).model_dump_json().encode()

    @asynccontextmanager
    async def _open(self, _: Starlette) -> AsyncIterator[None]:
        async with Redis.from_url(os.environ["REDIS_URL"]) as self._redis:
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = await self._redis.get(scope["path"])
        if found is None:
            await self._redis.set(scope["path"], self._body)
        await Response(found or self._body, media_type="application/json")(scope, receive, send)


def build(size: int) -> Starlette:
    """The application."""
    return _RoundTrip(size)
