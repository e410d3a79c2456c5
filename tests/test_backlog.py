"""Evictions that Redis did not acknowledge: kept, sent before any hit, never lost."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from fastapi import Depends, FastAPI, HTTPException
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from redis_fastapi import Cached, CacheEvict, CachePut, FastAPIRedis, cache, cache_evict, cache_put
from redis_fastapi._engine.backlog import Backlog
from redis_fastapi._engine.engine import Bypass, Engine, Miss, Outcome
from redis_fastapi._engine.evictions import Evictions
from redis_fastapi._http import Reason
from redis_fastapi._redis.keys import EPOCH
from redis_fastapi._redis.store import Store
from redis_fastapi._redis.transport import AwayError
from redis_fastapi.exceptions import CacheUnavailableError
from servers import RedisServer
from store_contract import GROUP, NEW, OLD, TARGET, TTL_MS, body_of, found_by, miss_of
from support import Runs, calling, serving, settings, state_of


def names(backlog: Backlog) -> tuple[set[str], set[str]]:
    owed = backlog.owed()
    return set(owed.entries), set(owed.generations)


def test_a_name_is_owed_once() -> None:
    backlog = Backlog()
    for _ in range(3):
        backlog.keep(["a"], ["g:n:x"])
    assert names(backlog) == ({"a"}, {"g:n:x"})


def test_a_sent_eviction_is_no_longer_owed() -> None:
    backlog = Backlog()
    backlog.keep(["a"], ["g:n:x"])
    backlog.settle(backlog.owed())
    assert not backlog


def test_a_name_evicted_again_while_it_is_sent_stays_owed() -> None:
    backlog = Backlog()
    backlog.keep(["a", "b"], ["g:n:x"])
    sent = backlog.owed()
    backlog.keep(["a"], [])
    backlog.settle(sent)
    assert names(backlog) == ({"a"}, set())


def test_a_backlog_that_overflows_owes_the_whole_cache() -> None:
    backlog = Backlog(most=3)
    backlog.keep(["a", "b"], ["g:n:x", "g:n:y"])
    assert names(backlog) == (set(), {EPOCH})
    backlog.keep(["c"], ["g:n:z"])
    assert names(backlog) == (set(), {EPOCH})


def test_a_backlog_never_grows_beyond_its_bound() -> None:
    backlog = Backlog(most=100)
    for number in range(10_000):
        backlog.keep([f"e{number}"], [f"g:n:{number}"])
        assert len(backlog) <= 100


class Interrupted(Store):
    """Loses every eviction while `away` is set; lookups go on, as for another process."""

    away: Exception | None = None

    async def evict(self, *args: Any, **options: Any) -> None:
        if self.away is not None:
            raise self.away
        await super().evict(*args, **options)


@asynccontextmanager
async def interrupted() -> AsyncIterator[tuple[Engine, Interrupted]]:
    async with FakeAsyncRedis(server=FakeServer()) as client:
        store = Interrupted(client, prefix="t")
        engine = Engine(store, sleep=lambda _: asyncio.sleep(0))
        yield engine, store
        store.away = None
        await engine.aclose()


AWAY = [AwayError("away"), CacheUnavailableError("late")]


async def evicted_during_an_outage(engine: Engine, store: Interrupted, away: Exception) -> None:
    assert await (await miss_of(engine)).fill(OLD, TTL_MS)
    store.away = away
    assert not await engine.evict((), (GROUP,))


@pytest.mark.parametrize("away", AWAY)
async def test_no_hit_before_an_owed_eviction_was_sent(away: Exception) -> None:
    async with interrupted() as (engine, store):
        await evicted_during_an_outage(engine, store, away)
        assert await engine.look_up(TARGET) == Bypass(Reason.UNAVAILABLE)
        assert await engine.peek(TARGET) is None
        assert not await engine.has(TARGET)
        store.away = None
        assert isinstance(await engine.look_up(TARGET), Miss)


async def known_during_an_outage(engine: Engine, store: Interrupted) -> Outcome | bytes:
    """What a lookup for a known entry finds while its eviction is kept."""
    assert await (await miss_of(engine)).fill(OLD, TTL_MS)
    known = await found_by(engine)
    store.away = AWAY[0]
    assert not await engine.evict((), (GROUP,))
    return await engine.look_again(TARGET, known, wait=True)


async def test_a_known_entry_is_not_served_before_an_owed_eviction_was_sent() -> None:
    async with interrupted() as (engine, store):
        assert await known_during_an_outage(engine, store) == Bypass(Reason.UNAVAILABLE)


async def test_control_without_settling_owed_evictions_it_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with interrupted() as (engine, store):
        monkeypatch.setattr(Evictions, "owe", lambda *_: False)
        assert await known_during_an_outage(engine, store) == b"old"


async def test_an_entry_that_no_owed_eviction_affects_is_served_meanwhile() -> None:
    async with interrupted() as (engine, store):
        assert await (await miss_of(engine)).fill(OLD, TTL_MS)
        store.away = AWAY[0]
        assert not await engine.evict(("another",), ("g:n:another",))
        assert body_of(await engine.look_up(TARGET)) == b"old"


async def test_control_without_the_backlog_an_older_entry_is_served() -> None:
    async with interrupted() as (engine, store):
        engine._evictions._owe = lambda *_: None  # type: ignore[method-assign]  # the rule, switched off
        await evicted_during_an_outage(engine, store, AWAY[0])
        assert body_of(await engine.look_up(TARGET)) == b"old"


async def test_an_owed_eviction_is_sent_even_without_a_lookup() -> None:
    async with interrupted() as (engine, store):
        await evicted_during_an_outage(engine, store, AWAY[0])
        store.away = None
        for _ in range(500):
            if engine._evictions._replayer is None:
                break
            await asyncio.sleep(0.01)
        other = Engine(store)
        assert isinstance(await other.look_up(TARGET), Miss)


async def test_after_an_overflow_no_entry_is_served() -> None:
    async with interrupted() as (engine, store):
        engine._evictions._backlog = Backlog(most=2)
        assert await (await miss_of(engine)).fill(OLD, TTL_MS)
        store.away = AWAY[0]
        for number in range(3):
            assert not await engine.evict((), (f"g:n:other{number}",))
        store.away = None
        assert isinstance(await engine.look_up(TARGET), Miss)


async def test_during_a_known_outage_a_write_does_not_wait() -> None:
    async with interrupted() as (engine, store):
        waits: list[float] = []

        async def wait(seconds: float) -> None:
            waits.append(seconds)

        engine._evictions._sleep = wait
        await evicted_during_an_outage(engine, store, AwayError("away"))
        assert waits == []
        store.away = CacheUnavailableError("late")
        assert not await engine.evict((), (GROUP,))
        assert len(waits) > 1


async def test_a_put_that_was_not_acknowledged_is_owed_as_an_eviction() -> None:
    class NoFill(Interrupted):
        async def fill(self, *args: Any) -> bool:
            raise CacheUnavailableError("late")

    async with interrupted() as (engine, _):
        engine._store.__class__ = NoFill
        lease = await engine.seize(TARGET)
        assert lease is not None
        assert isinstance(engine._store, NoFill)
        engine._store.away = AWAY[0]
        assert not await engine.put(lease, NEW, TTL_MS)
        assert TARGET.entry in engine._evictions._backlog.owed().entries


async def test_closing_sends_owed_evictions(caplog: pytest.LogCaptureFixture) -> None:
    async with interrupted() as (engine, store):
        await evicted_during_an_outage(engine, store, AWAY[0])
        store.away = None
        await engine.aclose()
        assert isinstance(await Engine(store).look_up(TARGET), Miss)
    assert "lost" not in caplog.text


async def test_evictions_that_closing_cannot_send_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with interrupted() as (engine, store):
        await evicted_during_an_outage(engine, store, AWAY[0])
        before = asyncio.all_tasks()
        await engine.aclose()
        assert asyncio.all_tasks() <= before
    errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert len(errors) == 2
    assert "lost" in errors[1]


def by_marker(app: FastAPI, runs: Runs, *, strict: bool) -> None:
    @app.put("/items/1")
    async def put() -> Annotated[int, CachePut(strict=strict)]:
        return runs.note("put")

    @app.delete("/items/1")
    async def delete() -> Annotated[int, CacheEvict(group="items", strict=strict)]:
        return runs.note("delete")


def by_dependency(app: FastAPI, runs: Runs, *, strict: bool) -> None:
    put = cache_put(eviction_group="items", strict=strict)
    evict = cache_evict(eviction_group="items", strict=strict)

    @app.put("/items/1", dependencies=[Depends(put)])
    async def put_item() -> int:
        return runs.note("put")

    @app.delete("/items/1", dependencies=[Depends(evict)])
    async def delete_item() -> int:
        return runs.note("delete")


def shop(runs: Runs, url: str, declare: Callable[..., None], *, strict: bool) -> FastAPI:
    app = FastAPI()
    FastAPIRedis(app, settings(url=url, deadline=0.5)).lifespan().caching()

    @app.get("/items/1")
    async def get() -> Annotated[int, Cached(ttl=60, group="items")]:
        return runs.note("get")

    declare(app, runs, strict=strict)
    return app


@pytest.mark.parametrize("declare", [by_marker, by_dependency])
@pytest.mark.parametrize(("strict", "status"), [(True, 503), (False, 200)])
@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_strict_turns_a_lost_eviction_into_503_and_keeps_it_all_the_same(
    declare: Callable[..., None], strict: bool, status: int, method: str
) -> None:
    runs = Runs()
    with RedisServer() as server:
        app = shop(runs, server.url, declare, strict=strict)
        with serving(app) as client:
            assert [state_of(client.get("/items/1")) for _ in range(2)] == ["MISS", "HIT"]
            server.stop()
            answer = client.request(method, "/items/1")
            assert answer.status_code == status
            assert runs.names[-1] == method.lower()
            server.start()


@pytest.mark.parametrize(("strict", "status"), [(True, 503), (False, 303)])
def test_strict_counts_for_a_write_that_raises_a_redirect(strict: bool, status: int) -> None:
    with RedisServer() as server:
        app = shop(Runs(), server.url, by_marker, strict=strict)

        @app.post("/items/1")
        async def sell() -> Annotated[None, CacheEvict(group="items", strict=strict)]:
            raise HTTPException(303, headers={"location": "/items"})

        with serving(app, follow_redirects=False) as client:
            assert client.post("/items/1").status_code == 303
            server.stop()
            assert client.post("/items/1").status_code == status
            server.start()


def test_strict_changes_nothing_while_redis_is_up() -> None:
    runs = Runs()
    app = shop(runs, "memory://", by_marker, strict=True)
    with serving(app) as client:
        assert client.put("/items/1").status_code == 200
        assert client.delete("/items/1").status_code == 200


@pytest.mark.parametrize("single_flight", [True, False])
def test_without_single_flight_no_request_waits(single_flight: bool) -> None:
    async def main() -> int:
        runs, meet = Runs(), asyncio.Event()
        app = FastAPI()
        FastAPIRedis(app, settings()).lifespan().caching()

        async def compute() -> int:
            runs.note()
            if len(runs) == 2:
                meet.set()
            if not single_flight:
                await meet.wait()
            else:
                await asyncio.sleep(0.05)
            return 1

        @app.get("/marker")
        async def marked() -> Annotated[int, Cached(ttl=60, single_flight=single_flight)]:
            return await compute()

        @app.get("/depends", dependencies=[Depends(cache(60, single_flight=single_flight))])
        async def depends() -> int:
            return await compute()

        return await _run_both(app, runs)

    assert asyncio.run(main()) == (2 if single_flight else 4)


async def _run_both(app: FastAPI, runs: Runs) -> int:
    async with app.router.lifespan_context(app), calling(app) as client:
        for path in ("/marker", "/depends"):
            answers = await asyncio.gather(client.get(path), client.get(path))
            assert [answer.json() for answer in answers] == [1, 1]
        return len(runs)


async def test_an_outage_of_the_embedded_redis_is_survived() -> None:
    server = FakeServer()
    async with FakeAsyncRedis(server=server, retry=Retry(NoBackoff(), 0)) as client:
        engine = Engine(Store(client, prefix="t"))
        assert await (await miss_of(engine)).fill(OLD, TTL_MS)
        server.connected = False
        assert not await engine.evict((TARGET.entry,), ())
        server.connected = True
        assert isinstance(await engine.look_up(TARGET), Miss)
        await engine.aclose()
