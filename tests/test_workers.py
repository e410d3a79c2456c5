"""Single flight: in one process, over four, and when the one that computes is killed."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import httpx
import pytest
from fastapi import FastAPI, Response

from outages.workers import workers
from redis_fastapi import Cached
from redis_fastapi._app.runtime import STATE
from redis_fastapi._engine.engine import Engine
from servers import RedisServer, wait_until
from support import Runs, calling, new_app, settings

pytest.importorskip("uvicorn")

REQUESTS = 100


def engine_of(app: FastAPI) -> Engine:
    runtime = getattr(app.state, STATE)
    engine: Engine = runtime.engine_on(runtime.client)
    return engine


async def ask_at_once(
    url: str, meanwhile: Callable[[], object] = lambda: None
) -> list[httpx.Response]:
    """Answers to all requests, less those of a worker that ended."""
    limits = httpx.Limits(max_connections=REQUESTS)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60.0) as client:
        asked = [asyncio.ensure_future(client.get("/items/1")) for _ in range(REQUESTS)]
        await asyncio.to_thread(meanwhile)
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(one, httpx.Response | httpx.TransportError) for one in answers)
    return [answer for answer in answers if isinstance(answer, httpx.Response)]


def states_of(answers: list[httpx.Response]) -> Counter[str]:
    assert {answer.status_code for answer in answers} == {200}
    return Counter(answer.headers["x-redis-cache"] for answer in answers)


PATIENT = {"REDIS_DEADLINE": "5", "REDIS_WAIT_MAX": "60", "REDIS_LEASE_TTL": "2"}


class Served(NamedTuple):
    """Four workers, and where their runs are noted."""

    url: str
    directory: Path


@pytest.fixture(scope="module")
def started(
    redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("workers")
    where = {"REDIS_URL": redis_server.url, "OUTAGES_SECONDS": "2"}
    with workers(directory, **where, **PATIENT) as url:
        yield Served(url, directory)


@pytest.fixture
def served(started: Served, redis_url: str) -> Served:
    """Four workers that have run nothing, on an empty server."""
    for noted in started.directory.glob("r[au]n*"):
        noted.unlink()
    return started


def test_a_hundred_requests_over_four_workers_run_the_endpoint_once(served: Served) -> None:
    answers = asyncio.run(ask_at_once(served.url))
    assert (served.directory / "runs").read_bytes() == b"."
    assert states_of(answers) == {"MISS": 1, "HIT": REQUESTS - 1}
    # Which worker accepts a connection is the kernel's to say.
    assert len({answer.headers["x-worker"] for answer in answers}) > 1


def test_after_a_killed_worker_one_other_computes(served: Served) -> None:
    runs = served.directory / "runs"

    def kill_the_leader() -> None:
        wait_until(runs.exists, what="a run", seconds=30.0)
        (leader,) = served.directory.glob("ran-*")
        os.kill(int(leader.name.removeprefix("ran-")), signal.SIGKILL)

    answers = asyncio.run(ask_at_once(served.url, kill_the_leader))
    assert runs.read_bytes() == b".."
    assert states_of(answers)["MISS"] == 1


async def test_a_hundred_requests_in_one_process_run_the_endpoint_once(redis_url: str) -> None:
    runs, waiting = Runs(), asyncio.Event()
    app = new_app(using=settings(url=redis_url))

    @app.get("/items/1")
    async def get() -> Annotated[int, Cached(ttl=60)]:
        await waiting.wait()
        return runs.note()

    async with app.router.lifespan_context(app), calling(app) as client:
        asked = [asyncio.ensure_future(client.get("/items/1")) for _ in range(REQUESTS)]
        waiters = engine_of(app)._waiters
        await asyncio.to_thread(
            wait_until, lambda: len(waiters) == REQUESTS - 1, what="all but one who wait"
        )
        waiting.set()
        answers = await asyncio.gather(*asked)
    assert len(runs) == 1
    assert states_of(answers) == {"MISS": 1, "HIT": REQUESTS - 1}


async def test_followers_of_an_unstorable_response_run_in_parallel(
    redis_url: str,
) -> None:
    runs, all_run = Runs(), asyncio.Event()
    app = new_app(using=settings(url=redis_url))

    @app.get("/items/1")
    async def get(response: Response) -> Annotated[int, Cached(ttl=60)]:
        response.headers["cache-control"] = "no-store"
        if runs.note() == REQUESTS:
            all_run.set()
        # The first is followed; the others must not wait for one another.
        if len(runs) > 1:
            await all_run.wait()
        return 1

    async with app.router.lifespan_context(app), calling(app) as client:
        answers = await asyncio.gather(*(client.get("/items/1") for _ in range(REQUESTS)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(runs) == REQUESTS
