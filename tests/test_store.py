"""Contract of the store on every Redis it runs on: embedded, real, without scripts, cluster."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Sequence
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from redis.asyncio import Connection, ConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.cluster import LoadBalancingStrategy

from redis_fastapi._redis.keys import EPOCH, Target
from redis_fastapi._redis.shared_transport import shared_transport
from redis_fastapi._redis.store import Acquired, Snapshot, Store
from redis_fastapi._redis.tokens import PASS, lease_kind, lease_validity, pass_after, validity_of
from redis_fastapi.exceptions import CacheSetupError, CacheUnavailableError
from servers import RedisCluster3, RedisServer
from store_contract import (
    GROUP,
    PATH,
    TARGET,
    TTL_MS,
    Variant,
    claim,
)

NOTHING: tuple[None, ...] = (None, None, None)
HOUR_MS = 60 * 60 * 1_000
DAY_MS = 24 * HOUR_MS


@pytest.fixture
def store(variant: Variant) -> Store:
    return variant.store()


async def lead(store: Store, nonce: bytes = b"nonce--1") -> bytes:
    """Takes the lease of a target without a holder."""
    wish = claim(TARGET, (await store.read(TARGET)).tokens, nonce)
    acquired = await store.acquire(wish)
    assert acquired.holder == wish.value
    return wish.value


def key(kind: str) -> str:
    return f"t:{kind}:{{{TARGET.entry}}}"


async def test_an_empty_store_has_no_entry(store: Store) -> None:
    assert await store.read(TARGET) == Snapshot(None, NOTHING)
    assert await store.read(TARGET, lease=True) == Snapshot(None, NOTHING, None)
    assert await store.probe(TARGET, size=8) == Snapshot(None, NOTHING)
    assert await store.tokens(TARGET) == NOTHING


async def test_a_claim_creates_missing_generations_and_reads_them_back(store: Store) -> None:
    wish = claim(TARGET, NOTHING)
    acquired = await store.acquire(wish)
    assert acquired.holder == wish.value
    assert acquired.snapshot == Snapshot(None, wish.fresh)
    assert await store.read(TARGET, lease=True) == Snapshot(None, wish.fresh, wish.value)
    assert lease_validity(wish.value) == validity_of(TARGET, acquired.snapshot.tokens)


async def test_a_claim_does_not_replace_existing_generations(store: Store) -> None:
    await store.acquire(claim(TARGET, NOTHING))
    tokens = await store.tokens(TARGET)
    other = claim(TARGET, (None, b"other--1", None), b"nonce--2")
    assert (await store.acquire(other)).snapshot.tokens == tokens


async def test_a_second_claim_of_the_same_generations_sees_the_holder(store: Store) -> None:
    held = await lead(store)
    second = claim(TARGET, await store.tokens(TARGET), b"nonce--2")
    assert (await store.acquire(second)).holder == held


async def test_a_claim_takes_over_from_a_holder_of_evicted_generations(store: Store) -> None:
    held = await lead(store)
    await store.evict((), (GROUP,))
    speculating = claim(TARGET, await store.tokens(TARGET), b"nonce--2")
    assert (await store.acquire(speculating)).holder == held
    certain = claim(TARGET, await store.tokens(TARGET), b"nonce--3")
    assert (await store.acquire(certain)).holder == certain.value


async def test_a_lost_speculation_does_not_take_over_from_the_winner(store: Store) -> None:
    winner = await store.acquire(claim(TARGET, NOTHING))
    loser = await store.acquire(claim(TARGET, NOTHING, b"nonce--2"))
    assert loser == winner


async def test_a_forced_claim_takes_over_from_anyone(store: Store) -> None:
    await lead(store)
    forced = claim(TARGET, await store.tokens(TARGET), b"nonce--2", force=True)
    acquired = await store.acquire(forced)
    assert acquired.holder == forced.value
    assert (await store.read(TARGET, lease=True)).lease == forced.value


async def test_a_claim_of_an_absent_entry_yields_to_any_holder(store: Store) -> None:
    held = await lead(store)
    await store.evict((), (GROUP,))
    tokens = (await store.acquire(claim(TARGET, await store.tokens(TARGET)))).snapshot.tokens
    wish = claim(TARGET, tokens, b"nonce--2", if_absent=True)
    assert (await store.acquire(wish)).holder in (held, None)
    assert (await store.read(TARGET, lease=True)).lease == held


async def test_a_claim_of_an_absent_entry_takes_no_lease_beside_an_entry(store: Store) -> None:
    assert await store.fill(TARGET, await lead(store), b"payload", TTL_MS)
    tokens = await store.tokens(TARGET)
    wish = claim(TARGET, tokens, b"nonce--2", if_absent=True)
    assert await store.acquire(wish) == Acquired(None, Snapshot(b"payload", tokens))
    assert (await store.read(TARGET, lease=True)).lease is None


async def test_a_claim_of_an_absent_entry_takes_the_lease_where_scripts_run(
    store: Store,
) -> None:
    wish = claim(TARGET, NOTHING, if_absent=True)
    acquired = await store.acquire(wish)
    assert acquired.holder == (wish.value if store._scripting else None)
    assert (await store.read(TARGET, lease=True)).lease == acquired.holder


async def test_a_fill_is_stored_and_ends_its_lease(variant: Variant, store: Store) -> None:
    held = await lead(store)
    assert await store.fill(TARGET, held, b"\x00\xffpayload", TTL_MS)
    snapshot = await store.read(TARGET, lease=True)
    assert (snapshot.raw, snapshot.lease) == (b"\x00\xffpayload", None)
    assert 0 < await variant.command("PTTL", key("e")) <= TTL_MS
    assert not await store.fill(TARGET, held, b"again", TTL_MS)


async def test_a_fill_replaces_the_entry(store: Store) -> None:
    assert await store.fill(TARGET, await lead(store), b"one", TTL_MS)
    assert await store.fill(TARGET, await lead(store, b"nonce--2"), b"two", TTL_MS)
    assert (await store.read(TARGET)).raw == b"two"


async def test_a_fill_under_a_lost_lease_is_rejected(variant: Variant, store: Store) -> None:
    held = await lead(store)
    await store.acquire(claim(TARGET, await store.tokens(TARGET), b"nonce--2", force=True))
    assert not await store.fill(TARGET, held, b"payload", TTL_MS)
    assert (await store.read(TARGET)).raw is None
    assert not await variant.command("EXISTS", f"{key('s')}:{b'nonce--1'.hex()}")


async def test_a_connection_is_fit_for_use_after_a_rejected_fill(store: Store) -> None:
    held = await lead(store)
    await store.evict((TARGET.entry,), ())
    assert not await store.fill(TARGET, held, b"payload", TTL_MS)
    assert await store.fill(TARGET, await lead(store, b"nonce--2"), b"payload", TTL_MS)


async def test_an_entry_without_expiry_goes_after_30_days_and_its_generations_later(
    variant: Variant, store: Store
) -> None:
    assert await store.fill(TARGET, await lead(store), b"payload", None)
    assert 29 * DAY_MS < await variant.command("PTTL", key("e")) <= 30 * DAY_MS
    for name in TARGET.generations:
        assert await variant.command("PTTL", f"t:{name}") > 30 * DAY_MS


async def test_a_fill_lets_generations_outlive_the_entry(variant: Variant, store: Store) -> None:
    week_ms = 7 * DAY_MS
    assert await store.fill(TARGET, await lead(store), b"payload", week_ms)
    for name in TARGET.generations:
        assert await variant.command("PTTL", f"t:{name}") > week_ms


async def test_a_short_fill_leaves_the_life_of_generations_alone(
    variant: Variant, store: Store
) -> None:
    held = await lead(store)
    await variant.command("PEXPIRE", f"t:{PATH}", HOUR_MS * 2 // 3)
    assert await store.fill(TARGET, held, b"payload", TTL_MS)
    assert await variant.command("PTTL", f"t:{PATH}") <= HOUR_MS * 2 // 3
    assert 0 < await variant.command("PTTL", f"t:{EPOCH}") <= HOUR_MS


async def lives_asked(client: Redis) -> int:
    """How often clients have queried the lifetime of a key."""
    stats: dict[str, Any] = await client.info("commandstats")
    return int(stats.get("cmdstat_pttl", {"calls": 0})["calls"])


async def test_a_fill_queries_only_lifetimes_that_its_process_does_not_know(
    redis_client: Redis,
) -> None:
    ours, other = Store(redis_client, prefix="t"), Store(redis_client, prefix="t")
    before = await lives_asked(redis_client)
    assert await ours.fill(TARGET, await lead(ours), b"payload", TTL_MS)
    assert await lives_asked(redis_client) == before  # it has made them
    for nonce in (b"nonce--2", b"nonce--3"):
        assert await other.fill(TARGET, await lead(other, nonce), b"payload", TTL_MS)
        assert await lives_asked(redis_client) == before + 3
    assert await other.fill(TARGET, await lead(other, b"nonce--4"), b"payload", 30 * DAY_MS)
    assert await lives_asked(redis_client) == before + 6


async def test_the_lifetime_of_a_generation_that_another_process_created_is_queried(
    redis_client: Redis,
) -> None:
    ours, other = Store(redis_client, prefix="t"), Store(redis_client, prefix="t")
    assert await ours.fill(TARGET, await lead(ours), b"payload", TTL_MS)
    before = await lives_asked(redis_client)
    await ours.evict((), (GROUP,))
    wish = claim(TARGET, await other.tokens(TARGET), b"nonce--2")
    await other.acquire(wish)
    await other.release(TARGET, wish.value)
    assert await ours.fill(TARGET, await lead(ours, b"nonce--3"), b"payload", TTL_MS)
    assert await lives_asked(redis_client) == before + 1


async def test_an_old_generation_outlives_a_new_entry(
    redis_client: Redis,
) -> None:
    now = 0.0
    store = Store(redis_client, prefix="t", clock=lambda: now)
    assert await store.fill(TARGET, await lead(store), b"payload", TTL_MS)
    now = HOUR_MS * 0.6 / 1_000
    await redis_client.execute_command("PEXPIRE", f"t:{GROUP}", HOUR_MS * 2 // 5)
    assert await store.fill(TARGET, await lead(store, b"nonce--2"), b"payload", TTL_MS)
    assert await redis_client.pttl(f"t:{GROUP}") > HOUR_MS // 2


async def test_a_release_ends_its_own_lease_only(store: Store) -> None:
    held = await lead(store)
    await store.release(TARGET, b"r" + b"another!" + held[9:])
    assert (await store.read(TARGET, lease=True)).lease == held
    await store.release(TARGET, held)
    assert (await store.read(TARGET, lease=True)).lease is None


async def test_a_release_with_a_pass_leaves_it_for_its_time(variant: Variant, store: Store) -> None:
    held = await lead(store)
    await store.release(TARGET, held, pass_ms=1_000)
    left = (await store.read(TARGET, lease=True)).lease
    assert left == pass_after(held)
    assert lease_kind(left) == PASS
    assert 0 < await variant.command("PTTL", key("l")) <= 1_000
    assert not await store.fill(TARGET, held, b"payload", TTL_MS)


async def test_a_renewal_prolongs_the_lease(variant: Variant, store: Store) -> None:
    await lead(store)
    await store.renew(TARGET, 100_000)
    assert await variant.command("PTTL", key("l")) > 10_000


async def test_an_eviction_removes_entry_and_lease(variant: Variant, store: Store) -> None:
    assert await store.fill(TARGET, await lead(store), b"payload", TTL_MS)
    await lead(store, b"nonce--2")
    await store.evict((TARGET.entry,), ())
    assert await store.read(TARGET, lease=True) == Snapshot(None, await store.tokens(TARGET))
    await store.evict((TARGET.entry,), ())


async def test_an_eviction_removes_the_named_generations(store: Store) -> None:
    await lead(store)
    before = await store.tokens(TARGET)
    await store.evict((), (PATH, GROUP))
    assert await store.tokens(TARGET) == (before[0], None, None)


async def test_an_empty_eviction_sends_no_command() -> None:
    server = FakeServer()
    server.connected = False
    await Store(FakeAsyncRedis(server=server), prefix="t").evict((), ())


async def test_a_probe_reads_the_head_only(store: Store) -> None:
    assert await store.fill(TARGET, await lead(store), b"head" + b"body" * 100, TTL_MS)
    assert await store.probe(TARGET, size=4) == Snapshot(b"head", await store.tokens(TARGET))


async def test_prefixes_are_separate_caches(variant: Variant, store: Store) -> None:
    assert await store.fill(TARGET, await lead(store), b"payload", TTL_MS)
    other = Store(variant.client(), prefix="u", scripting=variant.scripting)
    assert await other.read(TARGET, lease=True) == Snapshot(None, NOTHING)


async def test_concurrent_operations_do_not_mix(variant: Variant, store: Store) -> None:
    async def round_trip(number: int) -> None:
        target = Target(f"{number:032x}", TARGET.generations, TARGET.shape)
        wish = claim(target, (await store.read(target)).tokens, b"n%07d" % number)
        while (acquired := await store.acquire(wish)).holder != wish.value:
            wish = claim(target, acquired.snapshot.tokens, b"n%07d" % number)
        assert await store.fill(target, wish.value, b"payload %d" % number, TTL_MS)
        assert (await store.read(target)).raw == b"payload %d" % number

    await asyncio.gather(*(round_trip(number) for number in range(20)))


async def test_a_server_without_eval_is_served_without_scripts(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    without = ("--rename-command", "EVAL", "", "--rename-command", "EVALSHA", "")
    caplog.set_level(logging.INFO, "redis_fastapi")
    with RedisServer(*without) as server:
        async with Redis.from_url(server.url) as client:
            store = Store(client, prefix="t")
            held = await lead(store)
            assert await store.fill(TARGET, held, b"payload", TTL_MS)
            await store.release(TARGET, await lead(store, b"nonce--2"))
    assert [record.message.partition(",")[0] for record in caplog.records] == [
        "Redis refuses Lua scripts"
    ]


async def test_the_switch_to_plain_commands_sends_no_token_again(
    redis_server: RedisServer,
) -> None:
    without = ("--rename-command", "EVAL", "", "--rename-command", "EVALSHA", "")
    with RedisServer(*without) as server:
        async with Redis.from_url(server.url) as client:
            await lead(Store(client, prefix="t"))
            # Three generations and one lease.
            assert (await client.info("commandstats"))["cmdstat_set"]["calls"] == 4


async def test_a_flushed_script_cache_costs_nothing_but_a_round_trip(
    redis_url: str, redis_client: Redis
) -> None:
    store = Store(redis_client, prefix="t")
    held = await lead(store)
    await redis_client.script_flush()
    assert await store.fill(TARGET, held, b"payload", TTL_MS)
    assert store._scripting


async def test_a_decoding_client_gets_the_same_bytes(redis_url: str) -> None:
    async with Redis.from_url(redis_url, decode_responses=True, protocol=3) as client:
        store = Store(client, prefix="t")
        assert await store.fill(TARGET, await lead(store), b"\xff\x00", TTL_MS)
        assert (await store.read(TARGET)).raw == b"\xff\x00"


async def test_a_decoding_cluster_client_gets_the_same_bytes(redis_cluster: RedisCluster3) -> None:
    redis_cluster.flush()
    async with RedisCluster.from_url(redis_cluster.url, decode_responses=True) as client:
        store = Store(client, prefix="t")
        assert await store.fill(TARGET, await lead(store), b"\xff\x00", TTL_MS)
        assert (await store.read(TARGET)).raw == b"\xff\x00"


async def test_a_cluster_without_scripts_fills_by_transaction(
    redis_cluster: RedisCluster3,
) -> None:
    redis_cluster.flush()
    async with RedisCluster.from_url(redis_cluster.url) as client:
        store = Store(client, prefix="t", scripting=False)
        held = await lead(store)
        assert await store.fill(TARGET, held, b"payload", TTL_MS)
        assert not await store.fill(TARGET, held, b"again", TTL_MS)
        assert (await store.read(TARGET)).raw == b"payload"


async def test_a_cluster_client_that_reads_replicas_is_refused() -> None:
    client = RedisCluster(
        host="127.0.0.1", port=1, load_balancing_strategy=LoadBalancingStrategy.ROUND_ROBIN
    )
    with pytest.raises(CacheSetupError, match="primaries only"):
        Store(client, prefix="t")


async def test_a_moved_slot_is_followed_and_a_token_is_not_sent_again(
    redis_cluster: RedisCluster3,
) -> None:
    redis_cluster.flush()
    async with RedisCluster.from_url(redis_cluster.url) as client:
        store = Store(client, prefix="t")
        tokens = (await store.acquire(claim(TARGET, NOTHING))).snapshot.tokens
        _misplace(client, key("l"))
        forced = claim(TARGET, tokens, b"nonce--2", force=True)
        assert (await store.acquire(forced)).holder == forced.value
        _misplace(client, key("l"))
        assert await store.fill(TARGET, forced.value, b"payload", TTL_MS)
        _misplace(client, key("l"))
        await store.evict((TARGET.entry,), TARGET.generations)
        assert await store.read(TARGET) == Snapshot(None, NOTHING)


def _misplace(client: RedisCluster, name: str) -> None:
    """Makes the client assume that another node has the slot of a key."""
    slots = client.nodes_manager.slots_cache
    slot = client.keyslot(name)
    slots[slot] = [node for node in client.get_primaries() if node not in slots[slot]][:1]


class DropsAfterSending(Connection):
    """Loses the connection between a command and its reply while `dropping` is set."""

    dropping = False

    async def read_response(self, *args: Any, **options: Any) -> Any:
        if DropsAfterSending.dropping:
            DropsAfterSending.dropping = False
            await self.disconnect(nowait=True)
            raise ConnectionResetError("dropped")
        return await super().read_response(*args, **options)


@pytest.mark.parametrize("held", [False, True])
async def test_a_lost_reply_is_an_error_and_the_token_is_not_sent_again(
    redis_url: str, redis_client: Redis, held: bool
) -> None:
    pool = ConnectionPool.from_url(
        redis_url, connection_class=DropsAfterSending, retry=Retry(NoBackoff(), 5)
    )
    async with Redis(connection_pool=pool) as client:
        held_transport = shared_transport(client, prefix="t", name="here", deadline=5.0)
        store = Store(client, prefix="t", transport=held_transport if held else None)
        await store.tokens(TARGET)
        await redis_client.config_resetstat()
        DropsAfterSending.dropping = True
        with pytest.raises(CacheUnavailableError):
            await store.acquire(claim(TARGET, NOTHING, force=True))
        await store.tokens(TARGET)
        assert (await redis_client.info("commandstats"))["cmdstat_set"]["calls"] <= 4
        await held_transport.aclose()
        await client.aclose()
    await pool.disconnect()


async def test_a_connection_with_replies_left_to_read_is_not_used_again(
    redis_server: RedisServer,
) -> None:
    with RedisServer() as server:
        pool = ConnectionPool.from_url(server.url, max_connections=1)
        async with Redis(connection_pool=pool) as client:
            store = Store(client, prefix="t", deadline=0.1)
            held = await lead(store)
            assert await store.fill(TARGET, held, b"payload", TTL_MS)
            server.pause()
            with pytest.raises(CacheUnavailableError):
                await store.probe(TARGET, size=3)
            server.resume()
            assert (await _patiently(store)).raw == b"payload"
        await pool.disconnect()


async def _patiently(store: Store) -> Snapshot:
    for _ in range(50):
        try:
            return await store.read(TARGET)
        except CacheUnavailableError:
            continue
    raise AssertionError("the server did not come back")


async def test_a_cancelled_operation_leaves_no_reply_behind(redis_url: str) -> None:
    pool = ConnectionPool.from_url(redis_url, max_connections=1)
    async with Redis(connection_pool=pool) as client:
        store = Store(client, prefix="t")
        assert await store.fill(TARGET, await lead(store), b"payload", TTL_MS)
        for turns in range(12):
            task = asyncio.ensure_future(store.tokens(TARGET))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert (await store.read(TARGET)).raw == b"payload"
    await pool.disconnect()


async def _every_operation(store: Store) -> Sequence[Any]:
    wish = claim(TARGET, NOTHING)
    return await asyncio.gather(
        store.read(TARGET),
        store.tokens(TARGET),
        store.probe(TARGET, size=1),
        store.acquire(wish),
        store.acquire(claim(TARGET, NOTHING, b"nonce--2", force=True)),
        store.fill(TARGET, wish.value, b"payload", TTL_MS),
        store.release(TARGET, wish.value),
        store.renew(TARGET, 1_000),
        store.evict((TARGET.entry,), (GROUP,)),
        return_exceptions=True,
    )


@pytest.mark.parametrize("scripting", [True, False])
async def test_an_absent_redis_is_one_kind_of_error(scripting: bool) -> None:
    with RedisServer() as server:
        url = server.url
    async with Redis.from_url(url, retry=Retry(NoBackoff(), 0)) as client:
        for outcome in await _every_operation(Store(client, prefix="t", scripting=scripting)):
            assert isinstance(outcome, CacheUnavailableError)


async def test_an_absent_cluster_is_one_kind_of_error() -> None:
    client = RedisCluster(host="127.0.0.1", port=1)
    for outcome in await _every_operation(Store(client, prefix="t", deadline=2.0)):
        assert isinstance(outcome, CacheUnavailableError)
    await client.aclose()


async def test_a_hung_redis_is_given_up_at_the_deadline(redis_server: RedisServer) -> None:
    with RedisServer() as server:
        async with Redis.from_url(server.url) as client:
            store = Store(client, prefix="t", deadline=0.05)
            server.pause()
            for outcome in await _every_operation(store):
                assert isinstance(outcome, CacheUnavailableError)
            server.resume()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_client_of_another_event_loop_is_one_kind_of_error(redis_url: str) -> None:
    store = Store(Redis.from_url(redis_url), prefix="t")
    asyncio.run(store.tokens(TARGET))
    with pytest.raises(CacheUnavailableError):
        asyncio.run(store.tokens(TARGET))
    # The connection of the closed loop is gone, a new one works.
    assert asyncio.run(store.tokens(TARGET)) == NOTHING
    del store
    gc.collect()


async def test_a_full_redis_stores_nothing_and_still_evicts(redis_server: RedisServer) -> None:
    with RedisServer("--maxmemory-policy", "noeviction") as server:
        async with Redis.from_url(server.url) as client:
            store = Store(client, prefix="t")
            held = await lead(store)
            server.command("CONFIG", "SET", "maxmemory", "1")
            with pytest.raises(CacheUnavailableError):
                await store.fill(TARGET, held, b"payload", TTL_MS)
            await store.evict((TARGET.entry,), TARGET.generations)
            assert await store.read(TARGET, lease=True) == Snapshot(None, NOTHING)


async def test_a_user_without_rights_is_one_kind_of_error(
    redis_server: RedisServer, redis_url: str
) -> None:
    redis_server.command("ACL", "SETUSER", "nobody", "on", ">secret", "~*", "-@all", "+hello")
    async with Redis.from_url(redis_url.replace("://", "://nobody:secret@")) as client:
        for outcome in await _every_operation(Store(client, prefix="t")):
            assert isinstance(outcome, CacheUnavailableError)
