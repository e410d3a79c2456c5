"""Soft evictions: what they outdate, what they never bring back, and each rule switched off."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from redis_fastapi._engine.engine import Engine, Hit, Miss, Outcome, Stale
from redis_fastapi._redis.entry import Entry
from redis_fastapi._redis.keys import EPOCH
from redis_fastapi._redis.store import Store
from redis_fastapi._redis.tokens import HARD_SIZE
from redis_fastapi._redis.transport import AwayError, Command, keyed
from servers import RedisServer
from store_contract import (
    GROUP,
    NEW,
    OLD,
    PATH,
    TARGET,
    TTL_MS,
    SoftEvictionsAlike,
    Variant,
    hit_of,
    miss_of,
    opened,
    seized,
    variant_of,
)

KEPT = OLD._replace(fresh_ms=60_000, revalidate_ms=30_000, error_ms=90_000)
SOON = 2.0
"""Time on the clock at which KEPT is fresh."""

Eviction = Callable[..., Awaitable[bool]]


@pytest_asyncio.fixture(params=["redis", "cluster-shared"])
async def scripted(request: pytest.FixtureRequest) -> AsyncIterator[Variant]:
    """Where a soft eviction is a script."""
    async with opened(variant_of(request.param, request.getfixturevalue)) as ready:
        yield ready


async def by_key(engine: Engine, **options: Any) -> bool:
    return await engine.evict((TARGET.entry,), (), **options)


async def by_path(engine: Engine, **options: Any) -> bool:
    return await engine.evict((), (PATH,), **options)


async def by_group(engine: Engine, **options: Any) -> bool:
    return await engine.evict((), (GROUP,), **options)


async def of_the_epoch(engine: Engine, **options: Any) -> bool:
    return await engine.evict((), (EPOCH,), **options)


EVICTIONS = [by_key, by_path, by_group, of_the_epoch]
every_eviction = pytest.mark.parametrize("evict", EVICTIONS)


def engine_at(variant: Variant, seconds: float, kind: type[Store] = Store) -> Engine:
    return variant.engine(kind, clock=lambda: seconds)


def stale_body(outcome: Outcome) -> bytes | None:
    return outcome.entry.body if isinstance(outcome, Stale) else None


@every_eviction
async def test_a_softly_evicted_entry_is_stale(variant: Variant, evict: Eviction) -> None:
    engine = engine_at(variant, SOON)
    await (await miss_of(engine)).fill(KEPT, TTL_MS)
    assert await evict(engine, soft=True)
    found = await engine.look_up(TARGET)
    assert stale_body(found) == b"old"
    assert not await engine.has(TARGET)
    assert await engine.peek(TARGET) is None


@every_eviction
async def test_a_soft_eviction_beats_a_fill_that_began_before_it(
    variant: Variant, evict: Eviction
) -> None:
    engine = engine_at(variant, SOON)
    lease = await miss_of(engine)
    assert await evict(engine, soft=True)
    await lease.fill(KEPT, TTL_MS)
    assert not isinstance(await engine.look_up(TARGET), Hit)


@every_eviction
async def test_a_soft_eviction_beats_a_put_that_began_before_it(
    variant: Variant, evict: Eviction
) -> None:
    engine = engine_at(variant, SOON)
    lease = await seized(engine)
    assert await evict(engine, soft=True)
    await engine.put(lease, KEPT, TTL_MS)
    assert not isinstance(await engine.look_up(TARGET), Hit)


@every_eviction
async def test_an_entry_computed_after_a_soft_eviction_is_a_hit(
    variant: Variant, evict: Eviction
) -> None:
    engine = engine_at(variant, SOON)
    await (await miss_of(engine)).fill(KEPT, TTL_MS)
    await evict(engine, soft=True)
    lease = await engine.lead(TARGET, KEPT)
    assert lease is not None
    assert await lease.fill(NEW, TTL_MS)
    assert hit_of(await engine.look_up(TARGET)) == (NEW, False)


@every_eviction
@pytest.mark.parametrize("hard", EVICTIONS)
async def test_a_hard_eviction_removes_a_softly_evicted_entry(
    scripted: Variant, evict: Eviction, hard: Eviction
) -> None:
    engine = engine_at(scripted, SOON)
    await (await miss_of(engine)).fill(KEPT, TTL_MS)
    await evict(engine, soft=True)
    assert await hard(engine)
    assert await is_gone(engine)


async def is_gone(engine: Engine) -> bool:
    outcome = await engine.look_up(TARGET)
    return isinstance(outcome, Miss) and outcome.stale is None


async def test_a_soft_eviction_of_a_missing_entry_creates_nothing(scripted: Variant) -> None:
    engine = engine_at(scripted, SOON)
    assert await engine.evict((TARGET.entry,), TARGET.generations, soft=True)
    snapshot = await scripted.store().read(TARGET, lease=True)
    assert (snapshot.raw, set(snapshot.tokens), snapshot.lease) == (None, {None}, None)


async def test_control_without_the_end_of_the_lease_an_older_fill_is_a_hit(
    scripted: Variant,
) -> None:
    class MarkOnly(Store):
        async def _evict(self, slots: Any, until: float | None) -> None:
            await super()._evict([slot[-1:] for slot in slots], until)

    engine = engine_at(scripted, SOON, MarkOnly)
    lease = await miss_of(engine)
    assert await by_key(engine, soft=True)
    await lease.fill(KEPT, TTL_MS)
    assert isinstance(await engine.look_up(TARGET), Hit)


async def computed_between_two(engine: Engine) -> Outcome:
    """A fill that begins after one soft eviction and before another."""
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    await by_group(engine, soft=True)
    await (await miss_of(engine)).fill(KEPT, TTL_MS)
    await by_group(engine, soft=True)
    return await engine.look_up(TARGET)


async def test_each_soft_eviction_outdates_entries_computed_before_it(
    scripted: Variant,
) -> None:
    assert stale_body(await computed_between_two(engine_at(scripted, SOON))) == b"old"


async def test_control_with_the_same_bytes_twice_a_soft_eviction_does_nothing(
    scripted: Variant,
) -> None:
    outcome = await computed_between_two(engine_at(scripted, SOON, SoftEvictionsAlike))
    assert isinstance(outcome, Hit)


async def evicted_after_soft_without_token(engine: Engine) -> bool:
    """Whether an entry is gone that was filled under the token a soft eviction might make."""
    await by_group(engine, soft=True)
    await (await miss_of(engine)).fill(KEPT, TTL_MS)
    await by_group(engine)
    await by_group(engine, soft=True)
    return await is_gone(engine)


async def test_a_soft_eviction_revives_nothing(scripted: Variant) -> None:
    assert await evicted_after_soft_without_token(engine_at(scripted, SOON))


async def test_control_creating_a_missing_token_revives_an_evicted_entry(
    scripted: Variant,
) -> None:
    class MakesMissing(Store):
        def _renewing(self, generation: str, renewal: bytes) -> Command:
            return keyed("SETRANGE", self._keys.generation(generation), HARD_SIZE, renewal)

    assert not await evicted_after_soft_without_token(engine_at(scripted, SOON, MakesMissing))


@pytest.mark.parametrize("change", ["DEL", "SETRANGE"])
async def test_without_scripts_an_entry_that_changes_meanwhile_is_removed(
    embedded: Variant, change: str
) -> None:
    class Changing(Store):
        async def _overwrite(self, key: bytes, *args: Any) -> None:
            exclusive = self._transport.exclusive

            @asynccontextmanager
            async def changing(key: bytes) -> AsyncIterator[Any]:
                async with exclusive(key) as exchange:

                    async def change_between(commands: Sequence[Command]) -> list[Any]:
                        replies = await exchange(commands)
                        if commands[0].args[0] == "WATCH":
                            rest = () if change == "DEL" else (0, "x")
                            await embedded.command(change, key, *rest)
                        return replies

                    yield change_between

            self._transport.exclusive = changing  # type: ignore[method-assign] # changes the key
            await super()._overwrite(key, *args)

    engine = engine_at(embedded, SOON, Changing)
    await (await miss_of(engine)).fill(KEPT, TTL_MS)
    assert await by_group(engine, soft=True)
    assert await is_gone(engine)


async def test_an_unacknowledged_soft_eviction_is_owed_as_a_hard_one(
    variant: Variant,
) -> None:
    class Away(Store):
        away = False

        async def outdate(self, *args: Any, **options: Any) -> bool:
            if Away.away:
                raise AwayError("away")
            return await super().outdate(*args, **options)

    engine = engine_at(variant, SOON, Away)
    await (await miss_of(engine)).fill(KEPT, TTL_MS)
    Away.away = True
    assert not await by_group(engine, soft=True)
    assert await is_gone(engine)


@pytest.mark.parametrize("scripting", [True, False])
async def test_a_soft_eviction_that_a_full_redis_refuses_is_a_hard_one(scripting: bool) -> None:
    with RedisServer("--maxmemory-policy", "noeviction") as server:
        full = partial(server.command, "CONFIG", "SET", "maxmemory")
        variant = Variant(lambda: Redis.from_url(server.url), scripting)
        async with opened(variant):
            engine = engine_at(variant, SOON)
            for evict in EVICTIONS:
                await (await miss_of(engine)).fill(KEPT, TTL_MS)
                full("1")
                assert await evict(engine, soft=True)
                assert await engine.find(TARGET) is None
                full("0")


# -- what is stale, and who gets it


async def filled(variant: Variant, entry: Entry) -> None:
    await (await miss_of(engine_at(variant, SOON))).fill(entry, TTL_MS)


async def found_at(variant: Variant, seconds: float, **options: Any) -> Outcome:
    return await engine_at(variant, seconds).look_up(TARGET, **options)


@pytest_asyncio.fixture
async def embedded() -> AsyncIterator[Variant]:
    async with opened(variant_of("fakeredis-plain", lambda name: None)) as ready:
        yield ready


async def test_after_its_lifetime_an_entry_is_stale_for_its_window(
    embedded: Variant,
) -> None:
    await filled(embedded, KEPT)
    assert isinstance(await found_at(embedded, 60.9), Hit)
    assert await found_at(embedded, 61.0) == Stale(KEPT, 0)
    assert await found_at(embedded, 90.9) == Stale(KEPT, 29_900)
    late = await found_at(embedded, 91.0)
    assert isinstance(late, Miss)
    assert late.stale == Stale(KEPT, 30_000)


async def test_a_client_may_tolerate_more_staleness_than_the_entry_allows(
    embedded: Variant,
) -> None:
    await filled(embedded, KEPT._replace(revalidate_ms=0))
    assert isinstance(await found_at(embedded, 62.0, tolerated_ms=2_000), Stale)
    assert isinstance(await found_at(embedded, 63.0, tolerated_ms=2_000), Miss)


async def test_a_refresh_is_not_sent_a_stale_entry(embedded: Variant) -> None:
    await filled(embedded, KEPT)
    outcome = await found_at(embedded, 100.0, refresh=True)
    assert isinstance(outcome, Miss)
    assert outcome.stale is None


async def test_one_caller_leads_the_refresh_of_a_stale_entry(embedded: Variant) -> None:
    await filled(embedded, KEPT)
    first, second = engine_at(embedded, 62.0), engine_at(embedded, 62.0)
    lease = await first.lead(TARGET, KEPT)
    assert lease is not None
    assert await second.lead(TARGET, KEPT) is None
    newer = KEPT._replace(body=b"new", created_ms=62_000)
    assert await lease.fill(newer, TTL_MS)
    assert await second.lead(TARGET, KEPT) is None
    assert hit_of(await second.look_up(TARGET)) == (newer, False)


async def test_a_client_that_refuses_stale_waits_for_the_computation(
    embedded: Variant,
) -> None:
    await filled(embedded, KEPT._replace(revalidate_ms=0))
    engine, other = engine_at(embedded, 62.0), engine_at(embedded, 62.0)
    lease = await miss_of(engine)
    newer = KEPT._replace(created_ms=62_000)

    async def fill_meanwhile(seconds: float) -> None:
        await lease.fill(newer, TTL_MS)

    other._waiters._sleep = fill_meanwhile
    assert hit_of(await other.look_up(TARGET)) == (newer, True)
