"""Races of the engine, step by step: each rule, and what happens where it is switched off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from redis_fastapi._engine.engine import Bypass, Engine, Miss, Outcome
from redis_fastapi._engine.forecast import Forecast
from redis_fastapi._engine.leases import Lease
from redis_fastapi._http import Reason
from redis_fastapi._redis.entry import Stored
from redis_fastapi._redis.keys import EPOCH, Target
from redis_fastapi._redis.store import Acquired, Claim, Snapshot, Store
from redis_fastapi.exceptions import CacheUnavailableError
from servers import RedisServer
from store_contract import (
    GROUP,
    NEW,
    OLD,
    PATH,
    TARGET,
    TTL_MS,
    EvictionOfTheEntryAlone,
    FollowsAnyFlight,
    GenerationsReadAtFill,
    Remembered,
    RememberedByBytes,
    UnconditionalFill,
    Variant,
    body_of,
    found_by,
    hit_of,
    miss_of,
    seized,
)

Eviction = Callable[[Engine], Awaitable[bool]]


class ExpectsNothing(Forecast):
    """Has every lookup claim the lease at once."""

    def is_sure(self, shape: bytes) -> bool:
        return False

    def expects_none(self, shape: bytes) -> bool:
        return True


def expecting_nothing(engine: Engine) -> Engine:
    engine._forecast = ExpectsNothing()
    return engine


@pytest.fixture(params=[False, True], ids=["reads-first", "claims-at-once"])
def engine(request: pytest.FixtureRequest, variant: Variant) -> Engine:
    engine = variant.engine()
    return expecting_nothing(engine) if request.param else engine


async def by_key(engine: Engine) -> bool:
    return await engine.evict((TARGET.entry,), ())


async def by_path(engine: Engine) -> bool:
    return await engine.evict((), (PATH,))


async def by_group(engine: Engine) -> bool:
    return await engine.evict((), (GROUP,))


async def of_the_epoch(engine: Engine) -> bool:
    return await engine.evict((), (EPOCH,))


EVICTIONS = [by_key, by_path, by_group, of_the_epoch]


async def waiting(engine: Engine, **options: Any) -> asyncio.Task[Outcome]:
    """A lookup that has met another's lease and waits for its end."""
    met = asyncio.Event()
    follow = engine._follow

    async def tell_and_follow(*args: Any) -> Any:
        met.set()
        return await follow(*args)

    engine._follow = tell_and_follow  # type: ignore[assignment,method-assign]  # tells that it waits
    task = asyncio.ensure_future(engine.look_up(TARGET, **options))
    await met.wait()
    return task


async def settled(engine: Engine) -> None:
    """Ends what runs in the background."""
    while engine._background.tasks:
        await asyncio.wait(engine._background.tasks)


async def test_a_filled_entry_is_a_hit(engine: Engine) -> None:
    lease = await miss_of(engine)
    assert lease.target == TARGET
    assert await lease.fill(OLD, TTL_MS)
    assert hit_of(await engine.look_up(TARGET)) == (OLD, False)


async def test_an_entry_from_a_clock_ahead_is_a_hit(variant: Variant) -> None:
    engine = variant.engine(clock=lambda: 0.0)
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    assert hit_of(await engine.look_up(TARGET)) == (OLD, False)


async def test_an_entry_of_another_shape_is_a_miss(engine: Engine) -> None:
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    other = Target(TARGET.entry, TARGET.generations, b"shape--2")
    assert isinstance(await engine.look_up(other), Miss)


async def test_an_entry_of_another_set_of_groups_is_a_miss(engine: Engine) -> None:
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    fewer = Target(TARGET.entry, TARGET.generations[:2], TARGET.shape)
    assert isinstance(await engine.look_up(fewer), Miss)


@pytest.mark.parametrize("raw", [b"", b"\x01", b"x" * 200])
async def test_a_corrupt_entry_is_a_miss(variant: Variant, engine: Engine, raw: bytes) -> None:
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    await variant.command("SET", f"t:e:{{{TARGET.entry}}}", raw)
    assert not await engine.has(TARGET)
    assert await (await miss_of(engine)).fill(NEW, TTL_MS)
    assert body_of(await engine.look_up(TARGET)) == b"new"


async def test_has_agrees_with_a_lookup(engine: Engine) -> None:
    assert not await engine.has(TARGET)
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    assert await engine.has(TARGET)
    await by_group(engine)
    assert not await engine.has(TARGET)


async def test_a_response_that_cannot_be_stored_is_not(engine: Engine) -> None:
    broken = type(OLD)(200, ((b"x", b"a\r\nb"),), b"", 0, 0)
    assert not await (await miss_of(engine)).fill(broken, TTL_MS)
    await settled(engine)
    assert await engine.look_up(TARGET) == Bypass(Reason.UNSTORABLE)


async def test_a_lease_ends_once(engine: Engine) -> None:
    lease = await miss_of(engine)
    assert await lease.fill(OLD, TTL_MS)
    assert not await lease.fill(NEW, TTL_MS)
    await lease.release()
    assert body_of(await engine.look_up(TARGET)) == b"old"


async def test_a_released_lease_fills_nothing(engine: Engine) -> None:
    lease = await miss_of(engine)
    await lease.release()
    assert not await lease.fill(OLD, TTL_MS)
    assert isinstance(await engine.look_up(TARGET), Miss)


async def evicted_during_the_computation(engine: Engine, evict: Eviction) -> Outcome:
    lease = await miss_of(engine)
    assert await evict(engine)
    await lease.fill(OLD, TTL_MS)
    return await engine.look_up(TARGET)


@pytest.mark.parametrize("evict", EVICTIONS)
async def test_an_eviction_beats_a_fill_that_began_before_it(
    engine: Engine, evict: Eviction
) -> None:
    assert isinstance(await evicted_during_the_computation(engine, evict), Miss)


@pytest.mark.parametrize("evict", EVICTIONS)
async def test_an_eviction_removes_the_entry(engine: Engine, evict: Eviction) -> None:
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    assert await evict(engine)
    assert isinstance(await engine.look_up(TARGET), Miss)


@pytest.mark.parametrize("kind", [UnconditionalFill, EvictionOfTheEntryAlone])
async def test_control_without_the_lease_an_evicted_key_comes_back(
    variant: Variant, kind: type[Store]
) -> None:
    outcome = await evicted_during_the_computation(variant.engine(kind), by_key)
    assert body_of(outcome) == b"old"


@pytest.mark.parametrize("evict", EVICTIONS[1:])
async def test_control_with_tokens_of_the_fill_an_evicted_group_comes_back(
    variant: Variant, evict: Eviction
) -> None:
    outcome = await evicted_during_the_computation(variant.engine(GenerationsReadAtFill), evict)
    assert body_of(outcome) == b"old"


@pytest.mark.parametrize("evict", EVICTIONS)
async def test_a_lookup_after_an_eviction_does_not_wait_for_an_older_computation(
    engine: Engine, evict: Eviction
) -> None:
    older = await miss_of(engine)
    assert await evict(engine)
    newer = await miss_of(engine)
    await older.fill(OLD, TTL_MS)
    assert await newer.fill(NEW, TTL_MS)
    assert body_of(await engine.look_up(TARGET)) == b"new"


@pytest.mark.parametrize("evict", EVICTIONS)
async def test_control_a_follower_of_any_flight_gets_an_evicted_value(
    variant: Variant, evict: Eviction
) -> None:
    # The older fill is let through, so that only the choice of the flight is on trial.
    engine = variant.engine(UnconditionalFill, engine=FollowsAnyFlight)
    older = await miss_of(engine)
    assert await evict(engine)
    follower = asyncio.ensure_future(engine.look_up(TARGET))
    await asyncio.sleep(0)
    await older.fill(OLD, TTL_MS)
    assert body_of(await follower) == b"old"


@pytest.mark.parametrize("evict", EVICTIONS)
async def test_a_follower_looks_up_again_if_an_eviction_overtook_its_leader(
    variant: Variant, evict: Eviction
) -> None:
    engine = variant.engine()
    older = await miss_of(engine)
    follower = await waiting(engine)
    evictor = variant.engine()
    await evictor.peek(TARGET)
    assert await evict(evictor)
    newer = await miss_of(variant.engine())
    assert not await older.fill(OLD, TTL_MS)
    assert await newer.fill(NEW, TTL_MS)
    assert body_of(await follower) == b"new"


async def test_a_put_is_seen_by_the_next_lookup(engine: Engine) -> None:
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    assert await engine.put(await seized(engine), NEW, TTL_MS)
    assert body_of(await engine.look_up(TARGET)) == b"new"


@pytest.mark.parametrize("soft", [False, True])
async def test_a_put_under_generations_that_another_process_evicted_claims_once_more(
    variant: Variant, soft: bool
) -> None:
    engine, other = variant.engine(), variant.engine()
    assert await engine.put(await seized(engine), OLD, TTL_MS)
    await other.peek(TARGET)  # once connected, it is confirmed in time
    assert await other.evict((), TARGET.generations, soft=soft)
    assert await engine.put(await seized(engine), NEW, TTL_MS)
    assert body_of(await other.look_up(TARGET)) == b"new"


async def reader_overtaken_by_a_put(engine: Engine, *, put_first: bool) -> Outcome:
    reader = await miss_of(engine)
    writer = await seized(engine)
    if put_first:
        assert await engine.put(writer, NEW, TTL_MS)
        await reader.fill(OLD, TTL_MS)
    else:
        await reader.fill(OLD, TTL_MS)
        assert await engine.put(writer, NEW, TTL_MS)
    return await engine.look_up(TARGET)


@pytest.mark.parametrize("put_first", [True, False])
async def test_a_fill_that_began_before_a_put_never_replaces_it(
    engine: Engine, put_first: bool
) -> None:
    assert body_of(await reader_overtaken_by_a_put(engine, put_first=put_first)) == b"new"


async def test_control_without_the_lease_a_reader_replaces_a_put(variant: Variant) -> None:
    engine = variant.engine(UnconditionalFill)
    assert body_of(await reader_overtaken_by_a_put(engine, put_first=True)) == b"old"


async def two_racing_puts(engine: Engine, *, older_first: bool) -> Outcome:
    older, newer = await seized(engine), await seized(engine)
    if older_first:
        assert await engine.put(older, OLD, TTL_MS)
        assert await engine.put(newer, NEW, TTL_MS)
    else:
        assert await engine.put(newer, NEW, TTL_MS)
        assert await engine.put(older, OLD, TTL_MS)
    return await engine.look_up(TARGET)


@pytest.mark.parametrize("older_first", [True, False])
async def test_two_racing_puts_end_in_a_miss(engine: Engine, older_first: bool) -> None:
    assert isinstance(await two_racing_puts(engine, older_first=older_first), Miss)


async def test_control_without_the_lease_the_older_of_two_puts_stays(variant: Variant) -> None:
    engine = variant.engine(UnconditionalFill)
    assert body_of(await two_racing_puts(engine, older_first=False)) == b"old"


async def put_racing_an_eviction(engine: Engine, evict: Eviction) -> Outcome:
    writer = await seized(engine)
    assert await evict(engine)
    assert await engine.put(writer, OLD, TTL_MS)
    return await engine.look_up(TARGET)


@pytest.mark.parametrize("evict", EVICTIONS)
async def test_a_put_does_not_revive_an_entry_evicted_meanwhile(
    engine: Engine, evict: Eviction
) -> None:
    assert isinstance(await put_racing_an_eviction(engine, evict), Miss)


async def test_control_without_the_lease_a_put_revives_an_evicted_key(variant: Variant) -> None:
    engine = variant.engine(UnconditionalFill)
    assert body_of(await put_racing_an_eviction(engine, by_key)) == b"old"


async def test_control_with_tokens_of_the_fill_a_put_revives_an_evicted_group(
    variant: Variant,
) -> None:
    engine = variant.engine(GenerationsReadAtFill)
    assert body_of(await put_racing_an_eviction(engine, by_group)) == b"old"


async def test_a_rejected_put_evicts_every_variant_of_its_path(engine: Engine) -> None:
    sibling = Target("ab" * 16, TARGET.generations, TARGET.shape)
    outcome = await engine.look_up(sibling)
    assert isinstance(outcome, Miss)
    assert await outcome.lease.fill(OLD, TTL_MS)
    writer = await seized(engine)
    await seized(engine)
    assert await engine.put(writer, NEW, TTL_MS)
    assert isinstance(await engine.look_up(sibling), Miss)


async def test_a_put_that_redis_does_not_acknowledge_evicts(variant: Variant) -> None:
    class FillWithoutReply(Store):
        async def fill(self, *args: Any) -> bool:
            assert await super().fill(*args)
            raise CacheUnavailableError("the reply was lost")

    engine = variant.engine(FillWithoutReply)
    assert await engine.put(await seized(engine), NEW, TTL_MS)
    await settled(engine)
    assert body_of(await engine.look_up(TARGET)) is None
    assert not await engine.has(TARGET)


async def test_a_cancelled_put_is_carried_through(variant: Variant) -> None:
    engine = variant.engine()
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    put = asyncio.ensure_future(engine.put(await seized(engine), NEW, TTL_MS))
    await asyncio.sleep(0)
    put.cancel()
    await asyncio.wait((put,))
    await settled(engine)
    assert body_of(await engine.look_up(TARGET)) == b"new"


async def test_a_cancelled_eviction_is_carried_through(engine: Engine) -> None:
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    eviction = asyncio.ensure_future(by_group(engine))
    await asyncio.sleep(0)
    eviction.cancel()
    await asyncio.wait((eviction,))
    await settled(engine)
    assert isinstance(await engine.look_up(TARGET), Miss)


async def test_readers_wait_for_a_write_and_get_what_it_stored(variant: Variant) -> None:
    engine, other = variant.engine(), variant.engine()
    writer = await seized(engine)
    here, there = await waiting(engine), await waiting(other)
    assert await engine.put(writer, NEW, TTL_MS)
    assert body_of(await here) == b"new"
    assert body_of(await there) == b"new"


@pytest.mark.parametrize("options", [{"refresh": True}, {"wait": False}])
async def test_a_reader_never_computes_under_the_lease_of_a_write(
    variant: Variant, options: dict[str, bool]
) -> None:
    engine = variant.engine()
    writer = await seized(engine)
    assert await engine.look_up(TARGET, **options) == Bypass(Reason.WRITING)
    assert await engine.put(writer, NEW, TTL_MS)


async def test_a_failed_write_leaves_the_entry(engine: Engine) -> None:
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    await (await seized(engine)).release()
    assert body_of(await engine.look_up(TARGET)) == b"old"


async def test_followers_get_what_the_leader_filled(variant: Variant) -> None:
    engine, other = variant.engine(clock=lambda: 2.0), variant.engine(clock=lambda: 2.0)
    lease = await miss_of(engine)
    here, there = await waiting(engine), await waiting(other)
    assert await lease.fill(OLD, TTL_MS)
    assert hit_of(await here) == hit_of(await there) == (OLD, True)


async def test_many_lookups_in_many_processes_compute_once(variant: Variant) -> None:
    engines = [variant.engine() for _ in range(3)]
    computations = 0

    async def serve(engine: Engine) -> Outcome:
        nonlocal computations
        outcome = await engine.look_up(TARGET)
        if isinstance(outcome, Miss):
            computations += 1
            assert await outcome.lease.fill(OLD, TTL_MS)
        return outcome

    outcomes = await asyncio.gather(*(serve(engine) for engine in engines for _ in range(20)))
    assert [outcome for outcome in outcomes if isinstance(outcome, Bypass)] == []
    assert computations == 1


async def leader(engine: Engine, started: asyncio.Event) -> None:
    """Takes the lease, computes for ever and gives the lease up when it is cancelled."""
    lease = await miss_of(engine)
    started.set()
    try:
        await asyncio.Event().wait()
    except BaseException:
        await lease.release()
        raise


async def test_a_cancelled_leader_hands_over(variant: Variant) -> None:
    engine, started = variant.engine(), asyncio.Event()
    leading = asyncio.ensure_future(leader(engine, started))
    await started.wait()
    followers = [await waiting(engine), await waiting(engine), await waiting(variant.engine())]
    leading.cancel()
    await asyncio.wait(followers, return_when=asyncio.FIRST_COMPLETED)
    (next_one,) = (task.result() for task in followers if task.done())
    assert isinstance(next_one, Miss)
    assert await next_one.lease.fill(NEW, TTL_MS)
    bodies = [body_of(await task) for task in followers]
    assert sorted(bodies, key=str) == [None, b"new", b"new"]


async def test_a_leader_cancelled_twice_hands_over(variant: Variant) -> None:
    engine, started = variant.engine(), asyncio.Event()
    leading = asyncio.ensure_future(leader(engine, started))
    await started.wait()
    follower = await waiting(engine)
    while not leading.done():
        leading.cancel()
        await asyncio.sleep(0)
    assert isinstance(await follower, Miss)


async def test_a_lookup_cancelled_while_it_claims_leaves_no_lease(variant: Variant) -> None:
    class AcquiresInTheEnd(Store):
        async def acquire(self, claim: Claim) -> Acquired:
            await super().acquire(claim)
            raise asyncio.CancelledError

    engine = variant.engine(AcquiresInTheEnd)
    with pytest.raises(asyncio.CancelledError):
        await engine.look_up(TARGET)
    await settled(engine)
    assert (await variant.store().read(TARGET, lease=True)).lease is None


async def test_followers_of_a_response_that_may_not_be_stored_do_not_queue(
    variant: Variant,
) -> None:
    engine, other = variant.engine(), variant.engine()
    lease = await miss_of(engine)
    followers = [await waiting(engine), await waiting(engine), await waiting(other)]
    await lease.release(storable=False)
    for follower in followers:
        assert await follower == Bypass(Reason.UNSTORABLE)
    assert await variant.engine().look_up(TARGET) == Bypass(Reason.UNSTORABLE)


async def test_control_followers_of_a_failed_computation_queue(variant: Variant) -> None:
    engine = variant.engine()
    lease = await miss_of(engine)
    followers = [await waiting(engine), await waiting(engine)]
    await lease.release()
    await asyncio.wait(followers, return_when=asyncio.FIRST_COMPLETED)
    first = next(task for task in followers if task.done())
    assert isinstance(first.result(), Miss)
    assert [task.done() for task in followers if task is not first] == [False]
    await first.result().lease.release(storable=False)  # type: ignore[union-attr]  # a Miss
    await asyncio.wait(followers)


@pytest.mark.parametrize("options", [{"refresh": True}, {"wait": False}])
async def test_a_lookup_that_does_not_wait_computes_beside_the_leader(
    variant: Variant, options: dict[str, bool]
) -> None:
    engine = variant.engine()
    lease = await miss_of(engine)
    beside = await miss_of(variant.engine(), **options)
    assert await beside.fill(NEW, TTL_MS)
    assert not await lease.fill(OLD, TTL_MS)
    assert body_of(await engine.look_up(TARGET)) == b"new"


@pytest.mark.parametrize("evict", EVICTIONS)
async def test_an_eviction_beats_the_fill_of_a_joined_lease(
    variant: Variant, evict: Eviction
) -> None:
    engine = variant.engine()
    await miss_of(engine)
    joined = await miss_of(variant.engine(), wait=False)
    assert await evict(engine)
    await joined.fill(OLD, TTL_MS)
    assert isinstance(await engine.look_up(TARGET), Miss)


async def test_a_failed_joiner_leaves_the_leader_its_lease(variant: Variant) -> None:
    lease = await miss_of(variant.engine())
    joined = await miss_of(variant.engine(), wait=False)
    await joined.release()
    assert await lease.fill(OLD, TTL_MS)


@pytest.mark.parametrize("same_process", [True, False])
async def test_a_lookup_that_waited_long_enough_joins(variant: Variant, same_process: bool) -> None:
    engine = variant.engine(wait_max=0.05)
    lease = await miss_of(engine)
    joined = await miss_of(engine if same_process else variant.engine(wait_max=0.05))
    assert await joined.fill(NEW, TTL_MS)
    assert not await lease.fill(OLD, TTL_MS)


async def test_a_lookup_that_waited_long_enough_for_a_write_is_a_bypass(
    variant: Variant,
) -> None:
    await seized(variant.engine())
    outcome = await variant.engine(wait_max=0.05).look_up(TARGET)
    assert outcome == Bypass(Reason.WRITING)


async def test_a_refresh_ignores_and_replaces_the_entry(engine: Engine) -> None:
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    assert await (await miss_of(engine, refresh=True)).fill(NEW, TTL_MS)
    assert body_of(await engine.look_up(TARGET)) == b"new"


async def test_a_lookup_beside_a_refresh_is_a_hit(engine: Engine) -> None:
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    await miss_of(engine, refresh=True)
    assert body_of(await engine.look_up(TARGET)) == b"old"


async def test_an_entry_filled_between_read_and_claim_is_a_hit(variant: Variant) -> None:
    class FilledMeanwhile(Store):
        async def acquire(self, claim: Claim) -> Acquired:
            await (await miss_of(other)).fill(NEW, TTL_MS)
            return await super().acquire(claim)

    other, engine = variant.engine(), variant.engine(FilledMeanwhile)
    await (await miss_of(other)).fill(OLD, TTL_MS)
    await by_key(other)
    assert body_of(await engine.look_up(TARGET)) == b"new"
    await settled(engine)
    assert (await variant.store().read(TARGET, lease=True)).lease is None


async def test_constantly_changing_generations_end_in_a_bypass(variant: Variant) -> None:
    class EvictedMeanwhile(Store):
        async def acquire(self, claim: Claim) -> Acquired:
            acquired = await super().acquire(claim)
            lost = (None, *acquired.snapshot.tokens[1:])
            return Acquired(acquired.holder, Snapshot(acquired.snapshot.raw, lost))

    engine = variant.engine(EvictedMeanwhile)
    assert await engine.look_up(TARGET) == Bypass(Reason.CONTENDED)
    assert await engine.seize(TARGET) is None
    await settled(engine)
    assert (await variant.store().read(TARGET, lease=True)).lease is None


async def test_a_leader_keeps_its_lease_while_it_computes(variant: Variant) -> None:
    class Renewing(Store):
        async def renew(self, target: Target, lease_ms: int) -> None:
            await super().renew(target, lease_ms)
            renewals.put_nowait(None)

    renewals: asyncio.Queue[None] = asyncio.Queue()
    engine = variant.engine(Renewing, lease_ms=600)
    lease = await miss_of(engine)
    for _ in range(4):
        await renewals.get()
    assert await lease.fill(OLD, TTL_MS)


@pytest.mark.parametrize("end", [lambda lease: lease.fill(OLD, TTL_MS), Lease.release])
async def test_an_ended_lease_leaves_no_timer_and_no_task(
    variant: Variant, end: Callable[[Lease], Awaitable[Any]]
) -> None:
    engine = variant.engine(lease_ms=30)
    before = asyncio.all_tasks()
    lease = await miss_of(engine)
    await end(lease)
    await engine.aclose()
    assert lease._timer.cancelled()
    assert not engine._leases.flights
    assert asyncio.all_tasks() == before


async def test_a_closed_engine_renews_nothing(variant: Variant) -> None:
    engine = variant.engine(lease_ms=30)
    lease = await miss_of(engine)
    await engine.aclose()
    lease._renew()
    assert not engine._background.tasks
    await lease.release()


class CountingTransport:
    """Counts the round trips of a store."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.spread = transport.spread
        self._trips = 0

    async def get_many(self, keys: Any, **options: Any) -> Any:
        self._trips += 1
        return await self._transport.get_many(keys, **options)

    async def send(self, commands: Any, **options: Any) -> Any:
        self._trips += 1
        return await self._transport.send(commands, **options)

    def exclusive(self, key: bytes) -> Any:
        return self._transport.exclusive(key)

    async def aclose(self) -> None:
        await self._transport.aclose()

    def taken(self) -> int:
        """Round trips since the last question."""
        trips, self._trips = self._trips, 0
        return trips


@pytest.mark.parametrize("evict", EVICTIONS)
async def test_round_trips_are_one_for_a_hit_three_for_a_miss_and_two_for_a_put(
    redis_client: Redis, evict: Eviction
) -> None:
    store = Store(redis_client, prefix="t")
    engine = Engine(store)
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    store._transport = counting = CountingTransport(store._transport)
    assert await evict(engine)
    assert counting.taken() == 1
    lease = await miss_of(engine)
    assert counting.taken() == 2
    assert await lease.fill(OLD, TTL_MS)
    assert counting.taken() == 1
    assert body_of(await engine.look_up(TARGET)) == b"old"
    assert counting.taken() == 1
    writer = await seized(engine)
    assert counting.taken() == 1
    assert await engine.put(writer, NEW, TTL_MS)
    assert counting.taken() == 1


async def test_an_expected_miss_takes_one_round_trip_less(redis_client: Redis) -> None:
    store = Store(redis_client, prefix="t")
    engine = Engine(store)
    for _ in range(2):
        await (await miss_of(engine)).fill(OLD, TTL_MS)
        assert await by_key(engine)
    store._transport = counting = CountingTransport(store._transport)
    lease = await miss_of(engine)
    assert counting.taken() == 1
    assert await lease.fill(OLD, TTL_MS)
    for _ in range(2):
        assert body_of(await engine.look_up(TARGET)) == b"old"
    assert counting.taken() == 3


async def test_a_lookup_that_expected_a_miss_leaves_no_lease_beside_an_entry(
    variant: Variant,
) -> None:
    engine = expecting_nothing(variant.engine())
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    assert body_of(await engine.look_up(TARGET)) == b"old"
    await settled(engine)
    assert (await engine._store.read(TARGET, lease=True)).lease is None


@pytest.mark.parametrize("soft", [False, True])
async def test_a_miss_under_generations_that_another_process_evicted_claims_once_more(
    variant: Variant, soft: bool
) -> None:
    engine, other = expecting_nothing(variant.engine()), variant.engine()
    await (await miss_of(engine)).release()
    await other.peek(TARGET)  # once connected, it is confirmed in time
    assert await other.evict((), TARGET.generations, soft=soft)
    assert await (await miss_of(engine)).fill(NEW, TTL_MS)
    assert body_of(await other.look_up(TARGET)) == b"new"


async def leaders_after_an_eviction(engine: Engine, other: Engine) -> int:
    """How many compute at once while one process assumes generations that the other evicted."""
    await (await miss_of(engine)).release()
    await other.peek(TARGET)
    assert await by_group(other)
    leader = await miss_of(other)
    outcome = await engine.look_up(TARGET, wait=False)
    assert isinstance(outcome, Miss)
    return 2 if await leader.fill(OLD, TTL_MS) is False else 1


async def test_a_claim_with_evicted_tokens_does_not_end_a_lease_with_current_ones(
    variant: Variant,
) -> None:
    engine = expecting_nothing(variant.engine())
    assert await leaders_after_an_eviction(engine, variant.engine()) == 1


async def test_control_a_claim_of_an_absent_entry_that_never_yields_ends_that_lease(
    redis_client: Redis,
) -> None:
    class Yielding(Store):
        async def acquire(self, claim: Claim) -> Acquired:
            return await super().acquire(replace(claim, if_absent=False))

    engine = expecting_nothing(Engine(Yielding(redis_client, prefix="t")))
    assert await leaders_after_an_eviction(engine, Engine(Store(redis_client, prefix="t"))) == 2


@pytest.mark.parametrize("evict", EVICTIONS)
async def test_a_known_entry_is_not_served_after_an_eviction(
    variant: Variant, evict: Eviction
) -> None:
    engine = variant.engine()
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    known = await found_by(engine)
    assert await engine.look_again(TARGET, known, wait=True) == b"old"
    assert await evict(engine)
    outcome = await engine.look_again(TARGET, known, wait=True)
    assert isinstance(outcome, Miss)
    assert await outcome.lease.fill(NEW, TTL_MS)
    assert hit_of(await engine.look_up(TARGET)) == (NEW, False)


async def test_control_without_its_tokens_a_known_entry_is_served_after_an_eviction(
    variant: Variant,
) -> None:
    engine = variant.engine()
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    known = await found_by(engine, RememberedByBytes)
    assert await by_group(engine)
    assert await engine.look_again(TARGET, known, wait=True) == b"old"


async def test_another_entry_than_the_known_one_is_read_once(redis_client: Redis) -> None:
    store = Store(redis_client, prefix="t")
    engine, other = Engine(store), Engine(Store(redis_client, prefix="t"))
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    known = await found_by(engine)
    assert await engine.put(await seized(engine), NEW, TTL_MS)
    store._transport = counting = CountingTransport(store._transport)
    outcome = await engine.look_again(TARGET, known, wait=True)
    assert not isinstance(outcome, bytes)
    assert hit_of(outcome) == (NEW, False)
    assert counting.taken() == 1
    assert await by_key(other)
    assert isinstance(await engine.look_again(TARGET, known, wait=True), Miss)
    assert counting.taken() == 2


async def nothing_works_and_nothing_raises(engine: Engine, lease: Lease, writer: Lease) -> None:
    """Every operation of an engine whose Redis is away."""
    known = Remembered(Stored((), b"", 0, 0, 0))
    assert await engine.look_again(TARGET, known, wait=True) == Bypass(Reason.UNAVAILABLE)
    assert await engine.look_up(TARGET) == Bypass(Reason.UNAVAILABLE)
    assert await engine.look_up(TARGET, refresh=True) == Bypass(Reason.UNAVAILABLE)
    assert await engine.seize(TARGET) is None
    assert not await engine.has(TARGET)
    assert not await by_key(engine)
    assert not await by_group(engine)
    assert not await lease.fill(OLD, TTL_MS)
    assert not await engine.put(writer, NEW, TTL_MS)
    await engine.aclose()


@pytest.mark.parametrize("outage", [RedisServer.kill, RedisServer.pause])
async def test_without_redis_every_lookup_is_a_bypass(
    redis_server: RedisServer, outage: Callable[[RedisServer], None]
) -> None:
    with RedisServer() as server:
        async with Redis.from_url(server.url, retry=Retry(NoBackoff(), 0)) as client:
            engine = Engine(Store(client, prefix="t", deadline=0.05))
            lease, writer = await miss_of(engine), await seized(engine)
            outage(server)
            await nothing_works_and_nothing_raises(engine, lease, writer)


async def test_without_the_embedded_redis_every_lookup_is_a_bypass() -> None:
    server = FakeServer()
    async with FakeAsyncRedis(server=server, retry=Retry(NoBackoff(), 0)) as client:
        engine = Engine(Store(client, prefix="t"))
        lease, writer = await miss_of(engine), await seized(engine)
        server.connected = False
        await nothing_works_and_nothing_raises(engine, lease, writer)


async def look_up_without_redis(engine: Engine) -> None:
    assert await engine.look_up(TARGET) == Bypass(Reason.UNAVAILABLE)


async def seize_without_redis(engine: Engine) -> None:
    assert await engine.seize(TARGET) is None


@pytest.mark.parametrize("claim", [look_up_without_redis, seize_without_redis])
async def test_not_every_request_of_an_outage_leaves_a_lease_to_give_back(
    claim: Callable[[Engine], Awaitable[None]],
) -> None:
    url, never = "redis://localhost:1", Retry(NoBackoff(), 0)
    async with Redis.from_url(url, retry=never) as nobody:
        engine = Engine(Store(nobody, prefix="t"))
        for _ in range(3):
            engine._forecast.learn(TARGET.shape, absent=True)
        engine._leases.known_tokens.learn(TARGET, (b"a token of bytes",) * len(TARGET.generations))
        for _ in range(20):
            await claim(engine)
        assert len(engine._background.tasks) <= 4
        await engine.aclose()


async def test_followers_of_a_leader_that_lost_redis_compute_by_themselves(
    variant: Variant,
) -> None:
    class NoFill(Store):
        async def fill(self, *args: Any) -> bool:
            raise CacheUnavailableError("away")

    engine = variant.engine(NoFill)
    lease = await miss_of(engine)
    followers = [await waiting(engine), await waiting(engine)]
    assert not await lease.fill(OLD, TTL_MS)
    for follower in followers:
        assert await follower == Bypass(Reason.UNSTORABLE)


async def test_a_lease_whose_release_failed_is_released_later(variant: Variant) -> None:
    class AwayForAWhile(Store):
        async def release(self, *args: Any, **options: Any) -> None:
            attempts.append(None)
            if len(attempts) < 3:
                raise CacheUnavailableError("away")
            await super().release(*args, **options)

    attempts: list[None] = []
    engine = variant.engine(AwayForAWhile, sleep=lambda _: asyncio.sleep(0))
    await (await miss_of(engine)).release()
    await settled(engine)
    assert (await variant.store().read(TARGET, lease=True)).lease is None


async def test_a_release_is_retried_no_longer_than_the_lease_lives(variant: Variant) -> None:
    class Away(Store):
        async def release(self, *args: Any, **options: Any) -> None:
            attempts.append(None)
            raise CacheUnavailableError("away")

    attempts: list[None] = []
    engine = variant.engine(Away, lease_ms=2_000, sleep=lambda _: asyncio.sleep(0))
    await (await miss_of(engine)).release()
    await settled(engine)
    assert len(attempts) == 5


async def test_an_eviction_is_sent_again_until_it_is_acknowledged(variant: Variant) -> None:
    class FailsTwice(Store):
        async def evict(self, *args: Any, **options: Any) -> None:
            attempts.append(None)
            if len(attempts) < 3:
                raise CacheUnavailableError("away")
            await super().evict(*args, **options)

    attempts: list[None] = []
    engine = variant.engine(FailsTwice)
    await (await miss_of(engine)).fill(OLD, TTL_MS)
    assert await by_key(engine)
    assert len(attempts) == 3
    assert isinstance(await engine.look_up(TARGET), Miss)


async def test_an_orphaned_lease_delays_others_only_until_it_expires(
    variant: Variant,
) -> None:
    dead = variant.engine(lease_ms=100)
    lease = await miss_of(dead)
    lease._timer.cancel()
    assert isinstance(await variant.engine(wait_max=60.0).look_up(TARGET), Miss)
