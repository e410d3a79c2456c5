"""The deployments Redis is found in, each with the settings a user would write."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from httpx import AsyncClient
from redis.asyncio import RedisCluster

from certificates import client_files, make_certificates, server_with_tls
from outages.topologies import COPIED_AT_ONCE, FailingOver
from redis_fastapi import RedisSettings
from redis_fastapi._engine.engine import Engine
from redis_fastapi._redis import store
from redis_fastapi._redis.keys import Target
from redis_fastapi._redis.pool import close_client
from redis_fastapi._redis.shared_transport import SharedClusterTransport, shared_transport
from redis_fastapi._redis.store import Store
from redis_fastapi._redis.transport import AwayError, primary_of
from redis_fastapi.exceptions import CacheUnavailableError
from servers import LOOPBACK, RedisCluster3, RedisServer, redis_server_available, wait_until
from support import Runs, calling, state_of
from test_outages import DEADLINE, lines, shop, until_answered, until_cached
from test_tracking import runtime, times_asked, until

pytestmark = pytest.mark.skipif(bool(redis_server_available()), reason="needs a redis-server")

ITEMS = [f"/items/{number}" for number in range(12)]
"""Enough to be in every slot range, each with a group of its own."""

LEAST_RIGHTS = "+mget +get +getrange +pttl +set +del +rename +pexpire"
SCRIPTS = "+eval +evalsha"
TRANSACTIONS = "+watch +unwatch +multi +exec"
CLUSTER = "+command +cluster|slots +asking"
"""All that the cache sends, and its scripts send; see docs/outages.md."""

FAILOVER_SECONDS = 20.0

PATIENCE = 3.0
"""A deadline in seconds that a busy machine meets."""


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[tuple[AsyncClient, Runs]]:
    runs = Runs()
    app = shop(runs, using=RedisSettings(**{"deadline": PATIENCE, **settings}))
    async with app.router.lifespan_context(app), calling(app) as client:
        if settings.get("local_cache"):
            await until(lambda: runtime(app)._changes.is_tracking)
        yield client, runs


async def assert_caches(client: AsyncClient) -> None:
    """Miss, hit, evict, miss, hit."""
    for turn in range(2):
        for wanted in ("MISS", "HIT"):
            for path in ITEMS:
                answer = await client.get(path)
                assert (answer.status_code, state_of(answer)) == (200, wanted), turn
        assert (await client.delete("/items")).status_code == 200


async def test_one_server_by_host_and_port() -> None:
    with RedisServer() as server:
        async with serving(host=LOOPBACK, port=server.port) as (client, _):
            await assert_caches(client)


async def test_a_unix_socket() -> None:
    with RedisServer(unix_socket=True) as server:
        where = {"url": f"unix://{server.unix_socket}", "local_cache": True}
        async with serving(**where) as (client, _):
            await assert_caches(client)


async def test_a_password() -> None:
    with RedisServer("--requirepass", "right") as server:
        where = {"host": LOOPBACK, "port": server.port, "local_cache": True}
        async with serving(**where, password="right") as (client, _):
            await assert_caches(client)


def grant(server: RedisServer, rights: str) -> None:
    keys = ("resetkeys", "~fastapi:*", "resetchannels")
    server.command("ACL", "SETUSER", "cache", "on", ">right", *keys, "-@all", *rights.split())


def told_of_changes(server: RedisServer) -> int:
    """How many processes a server notifies of changes."""
    return int(server.command("PUBSUB", "NUMSUB", "__redis__:invalidate")[1])


def denied(server: RedisServer) -> set[str]:
    """Commands that were sent without the right to, less those of redis-py and of the start."""
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return {str(entry["object"]) for entry in client.acl_log()} - {"client|setinfo", "info"}


LOGIN = {"username": "cache", "password": "right"}


@pytest.mark.parametrize(
    ("rights", "refused"),
    [
        (f"{LEAST_RIGHTS} {SCRIPTS}", set()),
        (f"{LEAST_RIGHTS} {TRANSACTIONS}", {"evalsha"}),
    ],
    ids=["scripts", "transactions"],
)
async def test_a_user_with_the_least_rights(
    rights: str, refused: set[str], caplog: pytest.LogCaptureFixture
) -> None:
    with RedisServer() as server:
        grant(server, rights)
        async with serving(host=LOOPBACK, port=server.port, **LOGIN) as (client, _):
            await assert_caches(client)
        assert denied(server) == refused
    assert caplog.records == []


async def test_a_user_with_the_least_rights_and_tracking(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with RedisServer() as server:
        told = "&__redis__:invalidate +client|id +client|tracking +subscribe +ping"
        grant(server, f"{LEAST_RIGHTS} {SCRIPTS} {told}")
        where = {"host": LOOPBACK, "port": server.port, "local_cache": True}
        async with serving(**where, **LOGIN) as (client, _):
            await assert_caches(client)
            assert told_of_changes(server) == 1
        assert denied(server) == set()
    assert caplog.records == []


@pytest.fixture
def patient_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replicas have longer to confirm than a busy machine takes."""
    monkeypatch.setattr(store, "_REPLICATION_MS", int(PATIENCE * 500))


@pytest.mark.usefixtures("patient_replicas")
async def test_a_user_with_the_least_rights_that_waits_for_replicas() -> None:
    with ExitStack() as stack:
        primary = FailingOver(stack).primary
        grant(primary, f"{LEAST_RIGHTS} {SCRIPTS} +wait")
        where = {"host": LOOPBACK, "port": primary.port, "wait_replicas": 1}
        async with serving(**where, **LOGIN) as (client, _):
            await assert_caches(client)
        assert denied(primary) == set()


async def test_tls_with_a_private_authority_and_client_certificates(tmp_path: Path) -> None:
    files = client_files(make_certificates(tmp_path))
    with server_with_tls(tmp_path) as (_, port):
        where = {"host": "localhost", "port": port, "ssl": True}
        async with serving(**where, **files, local_cache=True) as (client, _):
            await assert_caches(client)
        async with serving(**where, ssl_ca_certs=files["ssl_ca_certs"]) as (stranger, _):
            assert state_of(await stranger.get(ITEMS[0])) == "BYPASS"


def _knows(node: RedisServer, name: str) -> bool:
    return name in str(node.command("CLUSTER", "NODES"))


class ClusterWithReplicas(RedisCluster3):
    """Three primaries with a replica each."""

    def __init__(self) -> None:
        super().__init__("--cluster-replica-validity-factor", "0", *COPIED_AT_ONCE)
        options = self.nodes[0].config.arguments
        self.replicas = tuple(RedisServer(*options) for _ in self.nodes)

    def start(self) -> Any:
        super().start()
        for primary, replica in zip(self.nodes, self.replicas, strict=True):
            replica.start()
            replica.command("CLUSTER", "MEET", LOOPBACK, primary.port)
            name = str(primary.command("CLUSTER", "MYID"))
            wait_until(partial(_knows, replica, name), what=name)
            replica.command("CLUSTER", "REPLICATE", name)
        wait_until(self._replicated, what="three replicas in step")
        return self

    def _replicated(self) -> bool:
        return all("master_link_status:up" in str(self._info(one)) for one in self.replicas)

    def _info(self, node: RedisServer) -> str:
        return "\n".join(f"{k}:{v}" for k, v in node.command("INFO", "replication").items())

    def _sees_all(self, node: RedisServer) -> bool:
        return "cluster_state:ok" in str(node.command("CLUSTER", "INFO"))

    def close(self) -> None:
        super().close()
        for replica in self.replicas:
            replica.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterWithReplicas]:
    with ClusterWithReplicas() as started:
        yield started


async def test_a_cluster_with_replicas(cluster: ClusterWithReplicas) -> None:
    async with serving(host=LOOPBACK, port=cluster.nodes[1].port, cluster=True) as (client, _):
        await assert_caches(client)


async def test_a_user_with_the_least_rights_on_a_cluster(
    cluster: ClusterWithReplicas, caplog: pytest.LogCaptureFixture
) -> None:
    nodes = (*cluster.nodes, *cluster.replicas)
    for node in nodes:
        grant(node, f"{LEAST_RIGHTS} {SCRIPTS} {CLUSTER}")
    where = {"host": LOOPBACK, "port": cluster.nodes[1].port, "cluster": True}
    async with serving(**where, **LOGIN) as (client, _):
        await assert_caches(client)
    assert [denied(node) for node in nodes] == [set()] * len(nodes)
    assert caplog.records == []


def connections(cluster: ClusterWithReplicas) -> int:
    """How many clients are connected to any node, without those that count them."""
    nodes = (*cluster.nodes, *cluster.replicas)
    lists = (node.command("CLIENT", "LIST", "TYPE", "NORMAL") for node in nodes)
    return sum(len(str(listed).splitlines()) - 1 for listed in lists)


async def test_seeking_the_primary_of_a_key_leaves_no_connection(
    cluster: ClusterWithReplicas,
) -> None:
    client = RedisCluster.from_url(cluster.url)
    held = SharedClusterTransport(client, prefix="t", name="here", deadline=PATIENCE)
    await held.get_many([b"t:key"], until=None)
    await client.aclose()  # as the client does by itself where a slot has no node
    await held._query_another(primary_of(client, b"t:key").name)
    await held.aclose()
    await close_client(client)
    await until(lambda: connections(cluster) == 0)


async def test_a_client_about_to_learn_the_nodes_anew_is_closed_with_its_connections(
    cluster: ClusterWithReplicas,
) -> None:
    client = RedisCluster.from_url(cluster.url)
    await client.get("t:key")
    await client.aclose()  # as the client does by itself at every fifth redirection,
    await primary_of(client, b"t:key").execute_command("GET", "t:key")  # and then follows it
    await close_client(client)
    await until(lambda: connections(cluster) == 0)


async def caches_after(
    client: AsyncClient, happens: Callable[[], object], *, seconds: float = FAILOVER_SECONDS
) -> None:
    """Serves while something happens to the topology, and caches when it is over."""
    await assert_caches(client)
    await asyncio.to_thread(happens)
    for path in ITEMS:
        assert (await client.get(path)).status_code == 200
    for path in ITEMS:
        await until_cached(client, path, seconds=seconds)
    # What an old primary may not have passed on is evicted on the new one.
    assert (await client.delete("/items")).status_code == 200
    await assert_caches(client)


async def test_a_cluster_changes_a_primary_with_its_replica(cluster: ClusterWithReplicas) -> None:
    changed = partial(cluster.replicas[2].command, "CLUSTER", "FAILOVER")
    async with serving(host=LOOPBACK, port=cluster.nodes[1].port, cluster=True) as (client, _):
        await caches_after(client, changed)


async def test_a_cluster_with_replicas_loses_a_primary(
    cluster: ClusterWithReplicas, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(host=LOOPBACK, port=cluster.nodes[1].port, cluster=True) as (client, _):
        await caches_after(client, cluster.nodes[0].kill)
    assert lines(caplog, "is away") == 1
    cluster.nodes[0].start()


async def test_a_hung_cluster_node_affects_only_its_own_keys() -> None:
    with RedisCluster3("--cluster-node-timeout", "60000") as nodes:
        needed_by_all = {nodes.node_of(f"fastapi:g:{name}") for name in ("", "n:items")}
        hung = next(node for node in nodes.nodes if node not in needed_by_all)
        where = {"host": LOOPBACK, "port": nodes.nodes[0].port, "cluster": True}
        async with serving(**where, deadline=2.0) as (client, _):
            await assert_caches(client)
            for path in ITEMS:
                await until_cached(client, path)
            hung.pause()
            await until_some(client, "BYPASS")
            found = {state_of(await client.get(path)) for path in ITEMS}
            assert found == {"BYPASS", "HIT"}
            hung.resume()
            for path in ITEMS:
                await until_cached(client, path)


async def test_an_eviction_reaches_the_nodes_that_are_there() -> None:
    with RedisCluster3("--cluster-node-timeout", "60000") as nodes:
        groups = {nodes.node_of(f"t:g:n:{name}"): f"g:n:{name}" for name in range(20)}
        async with RedisCluster.from_url(nodes.url) as client:
            for name in groups.values():
                await client.set(f"t:{name}", b"token")
            held = shared_transport(client, prefix="t", name="here", deadline=DEADLINE)
            engine = Engine(Store(client, prefix="t", deadline=DEADLINE, transport=held))
            await engine.evict((), ("g:n:none",))
            hung, *others = groups
            hung.pause()
            while not await is_away(engine, groups[hung]):
                continue
            assert not await engine.evict((), groups.values())
            assert [node.command("DBSIZE") for node in others] == [0, 0]
            hung.resume()
            await engine.aclose()


async def is_away(engine: Engine, generation: str) -> bool:
    """Whether the node of a generation is known to be away."""
    try:
        await engine._store.tokens(Target("", (generation,), b""))
    except AwayError:
        return True
    except CacheUnavailableError:
        return False
    return False


async def until_some(client: AsyncClient, state: str) -> None:
    """Requests all items until one response has this state."""
    while state not in {state_of(await client.get(path)) for path in ITEMS}:
        continue


async def test_sentinels_fail_over() -> None:
    with ExitStack() as stack:
        servers = FailingOver(stack)
        nodes = ((LOOPBACK, servers.sentinel.port),)
        async with serving(sentinel=True, sentinel_nodes=nodes) as (client, _):
            await caches_after(client, servers.primary.kill)


async def test_processes_with_a_local_tier_track_the_new_primary() -> None:
    with ExitStack() as stack:
        servers = FailingOver(stack)
        nodes = ((LOOPBACK, servers.sentinel.port),)
        where = {"sentinel": True, "sentinel_nodes": nodes, "local_cache": True}
        async with serving(**where) as (client, _), serving(**where) as (other, _):
            await caches_after(client, servers.primary.kill)
            await until_cached(other, ITEMS[0])
            await until(lambda: told_of_changes(servers.replica) == 2)
            await assert_kept(client, servers.replica)
            assert (await other.delete("/items")).status_code == 200
            await until_answered(client, "MISS", ITEMS[0])


async def assert_kept(client: AsyncClient, server: RedisServer) -> None:
    """Without communication with the server, a later hit comes from the local tier."""
    for _ in range(1_000):
        asked = times_asked(server)
        assert state_of(await client.get(ITEMS[0])) == "HIT"
        if times_asked(server) == asked:
            return
    raise AssertionError("nothing is kept")


async def test_sentinels_change_the_primary_with_its_replica() -> None:
    with ExitStack() as stack:
        servers = FailingOver(stack)
        nodes = ((LOOPBACK, servers.sentinel.port),)
        async with serving(sentinel=True, sentinel_nodes=nodes) as (client, _):
            await caches_after(client, servers.change)
        assert servers.primary.command("ROLE")[0] == "slave"


@pytest.mark.usefixtures("patient_replicas")
async def test_replicas_that_have_to_confirm_an_eviction() -> None:
    with ExitStack() as stack:
        servers = FailingOver(stack)
        where = {"host": LOOPBACK, "port": servers.primary.port, "wait_replicas": 1}
        async with serving(**where) as (client, _):
            await assert_caches(client)
            servers.replica.pause()
            await asyncio.sleep(0)
            assert (await client.delete("/items")).status_code == 200
            assert state_of(await client.get("/items/1")) == "BYPASS"
            servers.replica.resume()
            await until_cached(client)
