"""What clients choose cannot make the process grow, nor cost more than the endpoint does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from fastapi import Depends, HTTPException, Response
from httpx import AsyncClient

from redis_fastapi import Cached, CachePut
from redis_fastapi._app.runtime import STATE
from redis_fastapi._engine.engine import Engine, Miss
from redis_fastapi._redis.keys import EPOCH, Target, digest
from redis_fastapi._redis.store import Store
from store_contract import OLD, TARGET, TTL_MS, miss_of
from support import Runs, calling, keys_of, new_app

MANY = 100
HOUR_MS = 60 * 60 * 1_000


def state_sizes(engine: Engine) -> tuple[int, int, int, int]:
    leases, background = engine._leases, engine._background
    running = len(leases.flights), len(background.tasks)
    return *running, len(engine._waiters), len(engine._evictions)


async def test_lookups_of_many_keys_leave_nothing_in_the_process() -> None:
    async with FakeAsyncRedis(server=FakeServer()) as client:
        engine = Engine(Store(client, prefix="t"))
        for number in range(MANY):
            outcome = await engine.look_up(Target(digest([str(number)]), (EPOCH,), b"shape--1"))
            assert isinstance(outcome, Miss)
            if number % 2:
                await outcome.lease.fill(OLD, TTL_MS)
            else:
                await outcome.lease.release()
        assert state_sizes(engine) == (0, 0, 0, 0)
        await engine.aclose()


async def test_one_lookup_too_many_computes_beside_those_that_wait() -> None:
    async with FakeAsyncRedis(server=FakeServer()) as client:
        engine = Engine(Store(client, prefix="t"), wait_max=30.0)
        engine._waiters._most = 3
        lease = await miss_of(engine)
        waiting = [asyncio.ensure_future(engine.look_up(TARGET)) for _ in range(3)]
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert len(engine._waiters) == 3
        assert isinstance(await engine.look_up(TARGET), Miss)
        assert await lease.fill(OLD, TTL_MS)
        await asyncio.gather(*waiting)
        await engine.aclose()


HOSTILE = {
    "no-cache": {"cache-control": "no-cache"},
    "no-store": {"cache-control": "no-store"},
    "max-age": {"cache-control": "max-age=0"},
    "only-if-cached": {"cache-control": "only-if-cached, no-cache"},
    "long": {"cache-control": "x, " * 2_000, "accept-language": "x" * 8_000},
    "range": {"range": "bytes=0-0"},
    "ranges": {"range": "bytes=" + "0-0," * 2_000},
    "conditions": {"if-none-match": '"x", ' * 1_000 + "*"},
}


@pytest.mark.parametrize("headers", HOSTILE.values(), ids=HOSTILE)
async def test_a_flood_leaves_at_most_one_entry_and_no_waiting_request(
    headers: dict[str, str],
) -> None:
    runs = Runs()
    app = new_app()

    @app.get("/items")
    async def get(page: int = 1) -> Annotated[int, Cached(ttl=60)]:
        return runs.note()

    async with app.router.lifespan_context(app), calling(app) as client:
        for number in range(0, MANY, 50):
            asked = [
                client.get(f"/items?junk={n}", headers=headers | {f"x-{n}": str(n)})
                for n in range(number, number + 50)
            ]
            answers = await asyncio.gather(*asked)
            assert all(answer.status_code in {200, 206, 304, 416, 504} for answer in answers)
        runtime = getattr(app.state, STATE)
        assert len(runs) <= MANY
        assert len(await keys_of(runtime.client, "e:")) <= 1
        assert len(await keys_of(runtime.client)) <= 4
        assert state_sizes(runtime.engine_on(runtime.client)) == (0, 0, 0, 0)


@asynccontextmanager
async def putting(
    commit: Callable[[], None], before_return: Callable[[], object]
) -> AsyncIterator[tuple[AsyncClient, Engine]]:
    """A put whose session commits as it cleans up, and the engine that serves it."""
    app = new_app()

    async def session() -> AsyncIterator[None]:
        yield
        commit()

    @app.get("/items/{number}")
    async def get(number: int) -> Annotated[int, Cached(ttl=60)]:
        return number

    @app.put("/items/{number}", dependencies=[Depends(session)])
    async def put(number: int) -> Annotated[int, CachePut()]:
        before_return()
        return number

    async with app.router.lifespan_context(app), calling(app) as client:
        runtime = getattr(app.state, STATE)
        yield client, runtime.engine_on(runtime.client)


def commit_nothing() -> None:
    raise ValueError("the row was changed meanwhile")


@pytest.mark.parametrize("commit", [lambda: None, commit_nothing])
async def test_a_put_holds_no_lease_when_it_is_over(commit: Callable[[], None]) -> None:
    async with putting(commit, lambda: None) as (client, engine):
        with suppress(ValueError):
            await client.put("/items/1")
        assert state_sizes(engine) == (0, 0, 0, 0)


async def test_a_put_that_is_cancelled_before_it_is_sent_holds_no_lease() -> None:
    def give_up() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()

    async with putting(lambda: None, give_up) as (client, engine):
        ends = await asyncio.gather(
            asyncio.ensure_future(client.put("/items/1")), return_exceptions=True
        )
        assert isinstance(ends[0], asyncio.CancelledError)
        while engine._background.tasks:
            await asyncio.wait(engine._background.tasks)
        assert state_sizes(engine) == (0, 0, 0, 0)


async def test_every_key_that_a_client_can_create_expires() -> None:
    app = new_app()

    @app.get("/items/{number}")
    async def get(
        number: int, response: Response, colour: str = ""
    ) -> Annotated[int, Cached(group="item:{number}")]:
        if number % 3 == 0:
            raise HTTPException(404)
        if number % 3 == 1:
            response.headers["cache-control"] = "no-store"
        return number

    async with app.router.lifespan_context(app), calling(app) as client:
        for number in range(60):
            await client.get(f"/items/{number}?colour={number}")
        redis = getattr(app.state, STATE).client
        lives = [await redis.pttl(key) for key in await keys_of(redis)]
    assert len(lives) > 60
    assert -1 not in lives
    # What was stored goes after 30 days, and its generations after four times that.
    assert sum(life > HOUR_MS for life in lives) == 20 * 3 + 1
