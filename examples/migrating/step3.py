"""Writes are declared in return types, too, and name the endpoint whose entries they change."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI

from redis_fastapi import Cached, CacheEvict, CachePut, FastAPIRedis

names = {1: "Sencha", 2: "Assam"}

app = FastAPI()
FastAPIRedis(app).lifespan().caching()


@app.get("/teas")
async def list_teas() -> Annotated[dict[int, str], Cached(ttl=60, group="lists")]:
    return names


@app.get("/teas/{tea_id}")
async def get_tea(tea_id: int) -> Annotated[str, Cached(ttl=300, group="teas")]:
    return names[tea_id]


@app.put("/teas/{tea_id}")
async def put_tea(tea_id: int, name: str) -> Annotated[str, CachePut(), CacheEvict(group="lists")]:
    names[tea_id] = name
    return name


@app.delete("/teas/{tea_id}")
async def delete_tea(tea_id: int) -> Annotated[None, CacheEvict(key=get_tea, group="lists")]:
    del names[tea_id]
