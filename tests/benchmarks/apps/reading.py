"""An application whose endpoints read from Redis by themselves, by redis-py and without a cache."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from redis.asyncio import Redis


def reading_app() -> tuple[FastAPI, Redis]:
    """The application, and the client that it closes at its end."""
    redis = Redis.from_url(os.environ["REDIS_URL"])

    @asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        async with redis:
            yield

    return FastAPI(lifespan=closing), redis
