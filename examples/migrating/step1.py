"""The code as it was written for fastapi-redis-sdk."""

from __future__ import annotations

from fastapi import Depends, FastAPI

from redis_fastapi import FastAPIRedis, cache, cache_evict, cache_put, default_key_builder

names = {1: "Sencha", 2: "Assam"}

app = FastAPI()
FastAPIRedis(app).lifespan().caching()


@app.get("/teas", dependencies=[Depends(cache(ttl=60, eviction_group="lists"))])
async def list_teas() -> dict[int, str]:
    return names


@app.get("/teas/{tea_id}", dependencies=[Depends(cache(ttl=300, eviction_group="teas"))])
async def get_tea(tea_id: int) -> str:
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
