"""Reads are declared in return types. Both forms share entries and groups, so the rest may wait."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, FastAPI

from redis_fastapi import Cached, FastAPIRedis, cache_evict, cache_put, default_key_builder

names = {1: "Sencha", 2: "Assam"}

app = FastAPI()
FastAPIRedis(app).lifespan().caching()


@app.get("/teas")
async def list_teas() -> Annotated[dict[int, str], Cached(ttl=60, group="lists")]:
    return names


@app.get("/teas/{tea_id}")
async def get_tea(tea_id: int) -> Annotated[str, Cached(ttl=300, group="teas")]:
    return names[tea_id]


@app.put(
    "/teas/{tea_id}",
    dependencies=[
        Depends(cache_put(ttl=300, eviction_group="teas", key_builder=default_key_builder)),
        Depends(cache_evict(eviction_group="lists")),
    ],
)
async def put_tea(tea_id: int, name: str) -> str:
    names[tea_id] = name
    return name


@app.delete(
    "/teas/{tea_id}",
    dependencies=[
        Depends(cache_evict(eviction_group="teas", key_builder=default_key_builder)),
        Depends(cache_evict(eviction_group="lists")),
    ],
)
async def delete_tea(tea_id: int) -> None:
    del names[tea_id]
