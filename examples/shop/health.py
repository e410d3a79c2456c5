"""Health and a visit counter, on the application's own Redis client."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from redis.exceptions import RedisError

from redis_fastapi import AsyncRedisDep

from .models import Health

router = APIRouter(prefix="/health", tags=["health"])

PATIENCE_SECONDS = 0.5
"""The client itself would try again for seconds."""


@router.get("")
async def get_health(redis: AsyncRedisDep) -> Health:
    """Whether Redis replies, and how often this was requested over all workers."""
    try:
        visits = await asyncio.wait_for(redis.incr("shop:visits"), PATIENCE_SECONDS)
        return Health(redis="up", visits=visits)
    except (RedisError, asyncio.TimeoutError):
        return Health(redis="down", visits=None)
