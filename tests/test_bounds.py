"""What clients choose cannot make the process grow, nor cost more than the endpoint does."""

import asyncio
from typing import Annotated

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from fastapi import FastAPI

from redis_fastapi import Cached, FastAPIRedis
from redis_fastapi._engine import Engine, Miss
from redis_fastapi._keys import EPOCH, Target, digest
from redis_fastapi._runtime import STATE
from redis_fastapi._store import Store
from store_contract import OLD, TARGET, TTL_MS, miss_of
from support import Runs, calling, settings

MANY = 200


def state_sizes(engine: Engine) -> tuple[int, int, int, int]:
    leases, background = engine._leases, engine._background
    running = len(leases.flights), len(background.tasks)
    return *running, len(engine._waiters), len(engine._evictions)


async def test_look_ups_of_many_keys_leave_nothing_in_the_process() -> None:
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


async def test_one_look_up_too_many_computes_beside_those_that_wait() -> None:
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


@pytest.mark.parametrize(
    "headers",
    [{"cache-control": "no-cache"}, {"cache-control": "no-store"}, {"range": "bytes=0-1"}],
    ids=lambda headers: next(iter(headers.values())),
)
async def test_a_flood_leaves_at_most_one_entry_and_no_waiting_request(
    headers: dict[str, str],
) -> None:
    runs = Runs()
    app = FastAPI()
    FastAPIRedis(app, settings()).lifespan().caching()

    @app.get("/items")
    async def get(page: int = 1) -> Annotated[int, Cached(ttl=60)]:
        return runs.note()

    async with app.router.lifespan_context(app), calling(app) as client:
        for number in range(0, MANY, 50):
            paths = [f"/items?junk={n}" for n in range(number, number + 50)]
            answers = await asyncio.gather(*(client.get(p, headers=headers) for p in paths))
            assert {answer.status_code for answer in answers} == {200}
        runtime = getattr(app.state, STATE)
        assert len(runs) <= MANY
        assert len(await runtime.client.keys("fastapi:e:*")) <= 1
        assert state_sizes(runtime.engine_on(runtime.client)) == (0, 0, 0, 0)
