"""``uvicorn tested.main:app``; its tests are in ``test_main.py``."""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, HTTPException

from redis_fastapi import Cached, CacheEvict, FastAPIRedis

forecasts = {"oslo": "snow", "rome": "sun"}

app = FastAPI(title="Weather")
FastAPIRedis(app).lifespan().caching()


@app.get("/forecasts/{town}")
async def get_forecast(town: str) -> Annotated[str, Cached(ttl=600, group="forecasts")]:
    """One forecast; 404 for an unknown town."""
    if town not in forecasts:
        raise HTTPException(404, "no such town")
    return forecasts[town]


@app.put("/forecasts/{town}")
async def put_forecast(town: str, weather: str) -> Annotated[None, CacheEvict(group="forecasts")]:
    """A new forecast; neighbours may have changed with it, so all of them go."""
    forecasts[town] = weather
