"""``uvicorn observed.main:app``, then ``/metrics``.

Needs ``fastapi-redis-annotated[otel]`` and ``opentelemetry-exporter-prometheus``.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import FastAPI, HTTPException
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import make_asgi_app

from redis_fastapi import Cached, CacheEvict, FastAPIRedis

TEAS = {1: "Sencha", 2: "Assam"}

app = FastAPI(title="Observed")
metering = MeterProvider([PrometheusMetricReader()])
FastAPIRedis(app).lifespan().caching().otel(meter_provider=metering)
app.mount("/metrics", make_asgi_app())


@app.get("/teas/{tea_id}")
async def get_tea(tea_id: int) -> Annotated[str, Cached(ttl=60, group="teas")]:
    """Counted by route and by hit, miss, stale or bypass."""
    if tea_id not in TEAS:
        raise HTTPException(404)
    return TEAS[tea_id]


@app.delete("/teas")
async def delete_teas() -> Annotated[None, CacheEvict(group="teas")]:
    """Counted with whether Redis confirmed it."""
    TEAS.clear()
