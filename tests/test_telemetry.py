"""What the cache reports: to listeners, in counts by route, and nothing without listeners."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import orjson
import pytest
import redis
from fastapi import FastAPI, HTTPException
from redis.asyncio import Redis

from apps import ITEM_READ as READ
from apps import ITEM_WRITE as WRITE
from apps import Gate, caching_app, memory_settings, serving, with_items
from redis_fastapi import Cached, FastAPIRedis, RedisSettings
from redis_fastapi._redis.store import Store
from redis_fastapi._serving.observed import ObservedStore
from redis_fastapi._telemetry.counters import Counters, RouteCounts, summed
from redis_fastapi._telemetry.published import Publisher, published
from redis_fastapi.telemetry import Answered, Event, Evicted, Exchanged, Telemetry
from store_contract import TARGET, claim

E = TypeVar("E", Answered, Evicted, Exchanged)


class Heard(list[Event]):
    """A listener that remembers."""

    def __call__(self, event: Event, /) -> None:
        self.append(event)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self if isinstance(event, kind)]


def heard_app(**settings: Any) -> tuple[FastAPI, Heard]:
    app, heard = with_items(caching_app(memory_settings(**settings))), Heard()
    FastAPIRedis(app).listen(heard)
    return app, heard


# Events


async def test_an_event_of_a_read_has_state_size_and_duration() -> None:
    app, heard = heard_app()
    async with serving(app) as http:
        for _ in range(2):
            await http.get("/items/1")

    miss, hit = heard.of(Answered)
    assert (miss.route, miss.state, miss.body_bytes) == (READ, "MISS", 1)
    assert (hit.route, hit.state, hit.reason) == (READ, "HIT", None)
    assert hit.started_ns > miss.started_ns > 0
    assert min(hit.lookup_seconds, miss.lookup_seconds) > 0


async def test_a_response_without_a_body_has_no_size() -> None:
    app, heard = heard_app()
    async with serving(app) as http:
        etag = (await http.get("/items/1")).headers["etag"]
        await http.get("/items/1", headers={"if-none-match": etag})

    assert [event.body_bytes for event in heard.of(Answered)] == [1, 0]


async def test_an_event_has_the_reason_not_to_store_and_the_error() -> None:
    app, heard = heard_app()

    @app.get("/picky")
    async def picky() -> Annotated[int, Cached(60, when=lambda _: False)]:
        return 1

    @app.get("/broken")
    async def broken() -> Annotated[int, Cached(60)]:
        raise HTTPException(404)

    async with serving(app) as http:
        for path in ("/picky", "/broken"):
            await http.get(path)
        await http.get("/items/1", headers={"cache-control": "no-store"})
        await http.get("/items/x")

    told = [(event.state, event.reason) for event in heard.of(Answered)]
    assert told == [("MISS", "when"), ("MISS", "failed"), (None, "request-no-store")]


async def test_the_span_of_a_collapsed_request_shows_it() -> None:
    app, heard, gate, second_claimed = caching_app(), Heard(), Gate(), asyncio.Event()

    def hear_claims(event: Event) -> None:
        claims = [one for one in heard.of(Exchanged) if one.operation == "acquire"]
        if len(claims) == 2:
            second_claimed.set()

    FastAPIRedis(app).listen(heard).listen(hear_claims)

    @app.get("/slow")
    async def slow() -> Annotated[int, Cached(60)]:
        await gate.pass_through()
        return 1

    async with serving(app) as http:
        first = asyncio.ensure_future(http.get("/slow"))
        await gate.reached()
        second = asyncio.ensure_future(http.get("/slow"))
        await second_claimed.wait()
        gate.open()
        await asyncio.gather(first, second)

    told = {(event.state, event.waited) for event in heard.of(Answered)}
    assert told == {("MISS", False), ("HIT", True)}


async def test_an_event_of_an_eviction_has_its_names_and_confirmation() -> None:
    app, heard = heard_app()
    async with serving(app) as http:
        await http.delete("/items/1")

    (evicted,) = heard.of(Evicted)
    assert (evicted.route, evicted.names, evicted.confirmed) == (WRITE, 1, True)


async def test_events_of_redis_operations_have_size_and_error() -> None:
    app, heard = heard_app()
    async with serving(app) as http:
        for _ in range(2):
            await http.get("/items/1")
        await http.delete("/items/1")

    exchanged = heard.of(Exchanged)
    operations = [event.operation for event in exchanged]
    assert operations == ["read", "acquire", "fill", "read", "evict"]
    fill, hit = exchanged[2], exchanged[3]
    assert fill.entry_bytes == hit.entry_bytes > 1
    assert {event.error for event in exchanged} == {None}


@pytest.mark.parametrize("scripting", [True, False])
async def test_a_claim_is_reported_once(fake_client: Redis, scripting: bool) -> None:
    heard = Heard()
    store = ObservedStore(fake_client, Telemetry((heard,)), prefix="t", scripting=scripting)
    await store.acquire(claim(TARGET, (None,) * len(TARGET.generations), if_absent=True))
    assert [event.operation for event in heard.of(Exchanged)] == ["acquire"]


async def test_during_an_outage_reads_report_a_bypass() -> None:
    app, heard = FastAPI(), Heard()
    settings = RedisSettings(url="redis://127.0.0.1:1", startup_checks=False)
    FastAPIRedis(app, settings).lifespan().caching().listen(heard)
    async with serving(with_items(app)) as http:
        await http.get("/items/1")
        await http.delete("/items/1")

    told = [(event.state, event.reason) for event in heard.of(Answered)]
    assert told == [("BYPASS", "unavailable")]
    assert [event.confirmed for event in heard.of(Evicted)] == [False]
    assert {event.error for event in heard.of(Exchanged)} >= {"CacheUnavailableError"}


# Listeners


async def test_a_listener_that_raises_changes_no_response_and_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, heard = with_items(caching_app()), Heard()

    def broken(event: Event) -> None:
        raise ValueError("broken")

    FastAPIRedis(app).listen(broken).listen(heard).listen(heard)
    with caplog.at_level(logging.WARNING, logger="redis_fastapi"):
        async with serving(app) as http:
            answers = [(await http.get("/items/1")).status_code for _ in range(2)]

    assert answers == [200, 200]
    assert len(heard.of(Answered)) == 2
    assert sum("a listener failed" in record.getMessage() for record in caplog.records) == 1


async def test_without_listeners_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("measured")

    for kind in ("ObservedReading", "ObservedWriting"):
        monkeypatch.setattr(f"redis_fastapi._serving.passage.{kind}", fail)
    monkeypatch.setattr("redis_fastapi._app.runtime.ObservedStore", fail)
    async with serving(with_items(caching_app())) as http:
        assert (await http.get("/items/1")).status_code == 200
        assert (await http.delete("/items/1")).status_code == 200

    with pytest.raises(AssertionError, match="measured"):
        async with serving(heard_app()[0]) as http:
            await http.get("/items/1")


def test_off_telemetry_imports_nothing() -> None:
    script = """
import sys, contextlib, fastapi, redis.asyncio
from fastapi.testclient import TestClient
with contextlib.suppress(ImportError):
    import redis.observability.providers
theirs = set(sys.modules)
from typing import Annotated
from redis_fastapi import Cached, FastAPIRedis, RedisSettings
app = fastapi.FastAPI()
FastAPIRedis(app, RedisSettings(url="memory://")).lifespan().caching()

@app.get("/")
def root() -> Annotated[int, Cached(60)]:
    return 1

with TestClient(app) as client:
    assert client.get("/").headers["x-redis-cache"] == "MISS"
ours = set(sys.modules) - theirs
assert "redis_fastapi._telemetry.otel" not in ours
assert not [name for name in ours if name.partition(".")[0] == "opentelemetry"], ours
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True)


# Counts


def answered(state: str | None, reason: str | None = None, *, local: bool = False) -> Answered:
    return Answered(READ, state, reason, 10, 0, 0.5, local=local)


def test_counters_count_by_route_state_and_reason() -> None:
    counters = Counters()
    for event in (
        answered("HIT", local=True),
        answered("HIT"),
        answered("STALE"),
        answered("MISS"),
        answered("BYPASS", "unavailable"),
        answered(None),
        Evicted(WRITE, 1, False, 0, 0.0),
        Exchanged("read", 1, None, 0, 0.0),
    ):
        counters(event)

    read, write = counters[READ], counters[WRITE]
    assert (read.hits, read.stale, read.misses, read.bypasses) == (2, 1, 1, 1)
    assert read.local_hits == 1
    assert read.reasons == {"unavailable": 1}
    assert (read.hit_ratio, read.lookup_seconds, read.bytes) == (0.6, 3.0, 60)
    assert (write.evictions, write.unconfirmed, write.hit_ratio) == (1, 1, 0.0)
    assert counters["GET /elsewhere"] == RouteCounts()
    assert "GET /elsewhere" not in counters
    assert list(counters) == [READ, WRITE]


def test_counts_of_several_processes_add_up() -> None:
    one, other = Counters(), Counters()
    one(answered("HIT", local=True))
    other(answered("HIT"))
    other(answered("BYPASS", "unavailable"))

    total = summed([one.as_json(), other.as_json()])[READ]

    assert (total.hits, total.local_hits, total.bypasses) == (2, 1, 1)
    assert total.reasons == {"unavailable": 1}


# Counts that processes publish


@pytest.fixture
def publisher_at(redis_client: redis.asyncio.Redis) -> Callable[..., Publisher]:
    """Makes a process that publishes at a time of its own."""

    def make(now: float, counters: Counters) -> Publisher:
        store = Store(redis_client, prefix="fastapi")
        return Publisher(store.execute, "fastapi", counters, 10.0, clock=lambda: now)

    return make


async def test_counts_of_a_process_are_included_for_three_intervals(
    redis_client: redis.asyncio.Redis, publisher_at: Callable[..., Publisher]
) -> None:
    counters = Counters()
    counters(answered("HIT"))
    await publisher_at(100.0, counters).publish()
    await publisher_at(120.0, counters).publish()

    assert len(await published(redis_client, "fastapi", now=125.0)) == 2
    assert len(await published(redis_client, "fastapi", now=131.0)) == 1
    assert await redis_client.pttl("fastapi:stats") > 0


async def test_a_process_removes_the_counts_of_the_dead(
    redis_client: redis.asyncio.Redis, publisher_at: Callable[..., Publisher]
) -> None:
    await publisher_at(100.0, Counters()).publish()
    await redis_client.hset("fastapi:stats", "damaged", "no json")
    running = asyncio.ensure_future(publisher_at(200.0, Counters()).run())
    found: list[Any] = []
    while not running.done() and (len(found) != 1 or orjson.loads(found[0])["at"] != 200.0):
        found = await redis_client.hvals("fastapi:stats")
    assert not running.done()
    running.cancel()


async def test_an_application_publishes_what_it_counts(redis_url: str) -> None:
    app = FastAPI()
    settings = RedisSettings(url=redis_url, deadline=5.0, stats_interval=0.01)
    FastAPIRedis(app, settings).lifespan().caching()
    async with serving(with_items(app)) as http:
        await http.get("/items/1")
        async with redis.asyncio.Redis.from_url(redis_url) as client:
            counts: dict[str, RouteCounts] = {}
            while READ not in counts:
                counts = summed(await published(client, "fastapi", now=0.0))
    assert counts[READ].misses == 1
