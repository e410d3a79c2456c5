"""The deployments Redis is found in, each with the settings a user would write."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient

from outages.topologies import FailingOver
from redis_fastapi import RedisSettings
from servers import (
    LOOPBACK,
    RedisCluster3,
    RedisServer,
    TLSFiles,
    redis_server_available,
    wait_until,
)
from support import Runs, calling, state_of
from test_outages import shop, until_cached

pytestmark = pytest.mark.skipif(bool(redis_server_available()), reason="needs a redis-server")

LEAST_RIGHTS = (
    *("+mget", "+get", "+getrange", "+pttl", "+set", "+del", "+rename", "+pexpire"),
    *("+eval", "+evalsha"),
)
"""All that the cache sends on a single server, and its scripts send; see docs/outages.md."""

FAILOVER_SECONDS = 20.0


@asynccontextmanager
async def serving(**settings: Any) -> AsyncIterator[tuple[AsyncClient, Runs]]:
    runs = Runs()
    app = shop(runs, using=RedisSettings(deadline=1.0, **settings))
    async with app.router.lifespan_context(app), calling(app) as client:
        yield client, runs


async def assert_caches(client: AsyncClient) -> None:
    """Miss, hit, evict, miss, hit; on enough items to be in every slot range."""
    for turn in range(2):
        paths = [f"/items/{number}" for number in range(12)]
        for wanted in ("MISS", "HIT"):
            for path in paths:
                answer = await client.get(path)
                assert (answer.status_code, state_of(answer)) == (200, wanted), turn
        assert (await client.delete("/items")).status_code == 200


async def test_one_server_by_host_and_port() -> None:
    with RedisServer() as server:
        async with serving(host=LOOPBACK, port=server.port) as (client, _):
            await assert_caches(client)


async def test_a_unix_socket() -> None:
    with RedisServer(unix_socket=True) as server:
        async with serving(url=f"unix://{server.unix_socket}") as (client, _):
            await assert_caches(client)


async def test_a_password() -> None:
    with RedisServer("--requirepass", "right") as server:
        async with serving(host=LOOPBACK, port=server.port, password="right") as (client, _):
            await assert_caches(client)


async def test_a_user_with_the_least_rights(caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer() as server:
        rights = ("resetkeys", "~fastapi:*", "resetchannels", "-@all", *LEAST_RIGHTS)
        server.command("ACL", "SETUSER", "cache", "on", ">right", *rights)
        login = {"username": "cache", "password": "right"}
        async with serving(host=LOOPBACK, port=server.port, **login) as (client, _):
            await assert_caches(client)
        denied = [entry for entry in server.command("ACL", "LOG") if "client|setinfo" not in entry]
    assert denied == []
    assert caplog.records == []


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(("openssl", *arguments), cwd=directory, check=True, capture_output=True)


@pytest.fixture
def certificates(tmp_path: Path) -> Path:
    """A private authority, and what it signed for the server and for the client."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on PATH, which makes the certificates")
    new = ("req", "-newkey", "rsa:2048", "-nodes", "-subj")
    ca = ("-x509", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem")
    usage = ("-addext", "basicConstraints=critical,CA:TRUE")
    openssl(tmp_path, *new, "/CN=authority", *ca, *usage, "-addext", "keyUsage=keyCertSign")
    (tmp_path / "names").write_text(f"subjectAltName=IP:{LOOPBACK}\n")
    for name in ("server", "client"):
        openssl(tmp_path, *new, f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        sign = ("x509", "-req", "-days", "2", "-CA", "ca.pem", "-CAkey", "ca.key")
        files = ("-CAcreateserial", "-in", f"{name}.csr", "-out", f"{name}.pem")
        openssl(tmp_path, *sign, *files, "-extfile", "names")
    return tmp_path


async def test_tls_with_a_private_authority_and_client_certificates(certificates: Path) -> None:
    files = TLSFiles(*(certificates / name for name in ("server.pem", "server.key", "ca.pem")))
    # The last of an option counts: this server asks for certificates.
    with RedisServer("--tls-auth-clients", "optional", tls=files) as server:
        wanted = {"ssl": True, "ssl_ca_certs": certificates / "ca.pem"}
        wanted |= {
            f"ssl_{kind}file": certificates / f"client.{suffix}"
            for kind, suffix in (("cert", "pem"), ("key", "key"))
        }
        async with serving(host=LOOPBACK, port=server.port, **wanted) as (client, _):
            await assert_caches(client)


def _knows(node: RedisServer, name: str) -> bool:
    return name in str(node.command("CLUSTER", "NODES"))


class ClusterWithReplicas(RedisCluster3):
    """Three primaries with a replica each."""

    def __init__(self) -> None:
        super().__init__("--cluster-replica-validity-factor", "0")
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


async def test_a_cluster_with_replicas_loses_a_primary(
    cluster: ClusterWithReplicas, caplog: pytest.LogCaptureFixture
) -> None:
    where = {"host": LOOPBACK, "port": cluster.nodes[1].port, "cluster": True}
    async with serving(**where) as (client, _):
        await assert_caches(client)
        cluster.nodes[0].kill()
        for number in range(12):
            assert (await client.get(f"/items/{number}")).status_code == 200
        for number in range(12):
            await until_cached(client, f"/items/{number}", seconds=FAILOVER_SECONDS)
        assert (await client.delete("/items")).status_code == 200
        await assert_caches(client)
    assert sum("is away" in one.getMessage() for one in caplog.records) == 1


async def test_sentinels_fail_over() -> None:
    with ExitStack() as stack:
        servers = FailingOver(stack)
        nodes = ((LOOPBACK, servers.sentinel.port),)
        async with serving(sentinel=True, sentinel_nodes=nodes) as (client, _):
            await assert_caches(client)
            servers.primary.kill()
            for number in range(12):
                assert (await client.get(f"/items/{number}")).status_code == 200
            await until_cached(client, seconds=FAILOVER_SECONDS)
            # What the old primary may not have passed on is evicted on the new one.
            assert (await client.delete("/items")).status_code == 200
            await assert_caches(client)


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
