"""The application that worker processes serve under fire: `uvicorn outages.app:app`.

`OUTAGES_DIR` holds its database: a number for each item, a file that grows by one byte with each
run of the reading endpoint, and one for each worker that ran it.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Request, Response

from redis_fastapi import Cached, CacheEvict, FastAPIRedis

HERE = Path(os.environ["OUTAGES_DIR"])
RUNS = HERE / "runs"
SECONDS = float(os.environ.get("OUTAGES_SECONDS", "0"))

app = FastAPI()
FastAPIRedis(app).lifespan().caching()


@app.middleware("http")
async def tell_worker_and_time(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    began = time.perf_counter()
    response = await call_next(request)
    response.headers["x-worker"] = str(os.getpid())
    response.headers["x-ms"] = f"{(time.perf_counter() - began) * 1_000:.3f}"
    return response


def read_item(number: int) -> int:
    path = HERE / f"item-{number}"
    return int(path.read_text()) if path.exists() else 0


def write_item(number: int, value: int) -> None:
    # Renamed into place, so that nobody reads half of it.
    new = HERE / f"new-{number}-{value}"
    new.write_text(str(value))
    new.rename(HERE / f"item-{number}")


def note_run() -> None:
    (HERE / f"ran-{os.getpid()}").touch()
    with RUNS.open("ab", buffering=0) as runs:
        runs.write(b".")


@app.get("/worker")
async def worker() -> int:
    return os.getpid()


@app.get("/items/{number}")
async def get(number: int) -> Annotated[int, Cached(ttl=60, group=("items", "item:{number}"))]:
    note_run()
    value = read_item(number)
    await asyncio.sleep(SECONDS)
    return value


@app.put("/items/{number}")
async def put(
    number: int, value: int
) -> Annotated[int, CacheEvict(group="item:{number}", strict=True)]:
    write_item(number, value)
    return value
