"""Single flight over four worker processes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from outages.workers import workers

REQUESTS = 100


async def ask_at_once(url: str) -> list[httpx.Response]:
    limits = httpx.Limits(max_connections=REQUESTS)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30.0) as client:
        return await asyncio.gather(*(client.get("/items/1") for _ in range(REQUESTS)))


def test_a_hundred_requests_over_four_workers_run_the_endpoint_once(
    redis_url: str, tmp_path: Path
) -> None:
    pytest.importorskip("uvicorn")
    settings = {"REDIS_URL": redis_url, "REDIS_DEADLINE": "5", "REDIS_WAIT_MAX": "30"}
    with workers(tmp_path, OUTAGES_SECONDS="0.5", **settings) as url:
        answers = asyncio.run(ask_at_once(url))
    assert {answer.status_code for answer in answers} == {200}
    assert (tmp_path / "runs").read_bytes() == b"."
    states = [answer.headers["x-redis-cache"] for answer in answers]
    assert states.count("MISS") == 1
    assert states.count("HIT") == REQUESTS - 1
    # Which worker accepts a connection is the kernel's to say.
    assert len({answer.headers["x-worker"] for answer in answers}) > 1
