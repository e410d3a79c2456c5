"""Clients from settings against real servers: how they connect, what they keep, how they end."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ConnectionError, RedisError

from certificates import client_files, make_certificates, server_with_tls
from redis_fastapi._redis.pool import close_client, open_client
from redis_fastapi.exceptions import CacheSettingsError, CacheSetupError
from redis_fastapi.settings import RedisSettings
from servers import (
    LOOPBACK,
    RedisCluster3,
    RedisServer,
    Sentinel,
    TLSFiles,
    free_port,
    redis_server_available,
    wait_until,
)

SECRET = "s3cr3t-hunter2"

needs_server = pytest.mark.skipif(
    redis_server_available() is not None, reason="no redis-server on PATH"
)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No `REDIS_*` variable and no `.env` but those of the test."""
    for name in RedisSettings.model_fields:
        monkeypatch.delenv(f"REDIS_{name.upper()}", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def protected_server() -> Iterator[RedisServer]:
    """A server with a password, an ACL user and a unix socket."""
    acl = ("--user", "app", "on", f">{SECRET}-app", "~*", "&*", "+@all")
    with RedisServer("--requirepass", SECRET, *acl, unix_socket=True) as server:
        yield server


def single(client: Redis | RedisCluster) -> Redis:
    assert isinstance(client, Redis)
    return client


def without_retries(client: Redis | RedisCluster) -> Redis:
    found = single(client)
    found.set_retry(Retry(NoBackoff(), 0))
    return found


def others_connected(url: str) -> int:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        own = str(client.client_id())
        return sum(each["id"] != own for each in client.client_list(_type="normal"))


def wait_until_alone(url: str) -> None:
    wait_until(lambda: others_connected(url) == 0, what="the end of all connections")


async def who(client: Redis | RedisCluster) -> Any:
    return await client.execute_command("ACL", "WHOAMI")


# Standalone


@needs_server
async def test_a_server_is_reached_by_url_and_by_host(redis_server: RedisServer) -> None:
    by_url = open_client(RedisSettings(url=redis_server.url))
    by_host = open_client(RedisSettings(host=LOOPBACK, port=redis_server.port))

    await single(by_url).set("pool", "1")
    assert await single(by_host).get("pool") == b"1"

    await close_client(by_url)
    await close_client(by_host)
    wait_until_alone(redis_server.url)


@needs_server
async def test_the_number_of_the_database_is_kept(redis_server: RedisServer) -> None:
    by_url = open_client(RedisSettings(url=f"redis://{LOOPBACK}:{redis_server.port}/3"))
    by_field = open_client(RedisSettings(host=LOOPBACK, port=redis_server.port, db=3))

    for client in (by_url, by_field):
        assert (await single(client).client_info())["db"] == 3
        await close_client(client)


@needs_server
@pytest.mark.parametrize(
    ("values", "user"),
    [
        ({"password": SECRET}, b"default"),
        ({"username": "app", "password": f"{SECRET}-app"}, b"app"),
    ],
)
async def test_a_password_and_an_acl_user_log_in(
    protected_server: RedisServer, values: dict[str, str], user: bytes
) -> None:
    client = open_client(RedisSettings(host=LOOPBACK, port=protected_server.port, **values))

    assert await who(client) == user
    await close_client(client)


@needs_server
@pytest.mark.parametrize(
    ("login", "user"), [(f":{SECRET}", b"default"), (f"app:{SECRET}-app", b"app")]
)
async def test_a_url_logs_in(protected_server: RedisServer, login: str, user: bytes) -> None:
    url = f"redis://{login}@{LOOPBACK}:{protected_server.port}"
    client = open_client(RedisSettings(url=url))

    assert await who(client) == user
    await close_client(client)


@needs_server
async def test_a_wrong_password_is_refused_and_not_shown(protected_server: RedisServer) -> None:
    settings = RedisSettings(
        host=LOOPBACK, port=protected_server.port, password=f"{SECRET}-not-the-one"
    )
    client = without_retries(open_client(settings))

    with pytest.raises(AuthenticationError) as caught:
        await client.ping()

    assert SECRET not in str(caught.value)
    await close_client(client)


@needs_server
@pytest.mark.parametrize("login", ["password={}", "db=2&username=app&password={}-app"])
async def test_a_unix_socket_is_reached(protected_server: RedisServer, login: str) -> None:
    url = f"unix://{protected_server.unix_socket}?{login.format(SECRET)}"
    client = single(open_client(RedisSettings(url=url)))

    info = await client.client_info()

    assert (info["user"], info["db"]) == (("app", 2) if "app" in login else ("default", 0))
    await close_client(client)
    wait_until_alone(f"redis://:{SECRET}@{LOOPBACK}:{protected_server.port}")


@needs_server
async def test_closing_ends_connections_in_use_too(redis_server: RedisServer) -> None:
    client = single(open_client(RedisSettings(url=redis_server.url)))
    held = client.client()
    await held.ping()
    await client.ping()
    assert others_connected(redis_server.url) == 2

    await close_client(client)

    wait_until_alone(redis_server.url)
    await held.aclose()


@needs_server
async def test_a_client_can_be_closed_twice(redis_server: RedisServer) -> None:
    client = open_client(RedisSettings(url=redis_server.url))
    await who(client)

    await close_client(client)
    await close_client(client)

    wait_until_alone(redis_server.url)


@needs_server
async def test_the_size_of_the_pool_is_kept(redis_server: RedisServer) -> None:
    client = single(open_client(RedisSettings(url=redis_server.url, max_connections=1)))

    async with client.client() as held:
        await held.ping()
        with pytest.raises(ConnectionError):
            await client.ping()
    await close_client(client)


# What the settings leave open


def connection_options(client: Redis | RedisCluster) -> dict[str, Any]:
    return dict(single(client).connection_pool.connection_kwargs)


def retries(client: Redis) -> tuple[int, type[object]]:
    policy = client.get_retry()
    assert policy is not None
    return policy._retries, type(policy._backoff)


@pytest.mark.parametrize("values", [{"url": "redis://localhost:6379"}, {"host": "localhost"}])
async def test_unset_options_keep_the_defaults_of_redis_py(values: dict[str, Any]) -> None:
    plain = Redis(host="localhost")
    ours = single(open_client(RedisSettings(**values)))

    expected, found = connection_options(plain), connection_options(ours)
    for name in ("socket_timeout", "socket_connect_timeout", "decode_responses", "protocol"):
        assert found[name] == expected[name]
    assert retries(ours) == retries(plain)


async def test_timeouts_are_kept_and_an_option_in_the_url_wins() -> None:
    values = {"socket_timeout": 3, "socket_connect_timeout": 2}

    options = connection_options(
        open_client(RedisSettings(url="redis://localhost?socket_timeout=1", **values))
    )

    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (1, 2)


@pytest.mark.parametrize(
    "values",
    [
        {"port": 1},
        {"url": "redis://localhost:1"},
        {"url": "rediss://localhost:1"},
        {"url": "unix:///no/such/socket"},
        {"port": 1, "cluster": True},
        {"sentinel": True, "sentinel_nodes": "localhost:1"},
    ],
)
async def test_opening_and_closing_need_no_server(values: dict[str, Any]) -> None:
    await close_client(open_client(RedisSettings(**values)))


@pytest.mark.parametrize(
    ("option", "cluster"),
    [
        ("no_such_option=1", False),
        ("no_such_option=1", True),
        ("socket_timeout=soon", False),
        ("socket_timeout=soon", True),
        ("protocol=9", False),
        ("retry=often", False),
    ],
)
def test_an_option_redis_py_cannot_use_is_refused_at_once(option: str, cluster: bool) -> None:
    settings = RedisSettings(url=f"redis://:{SECRET}@localhost?{option}", cluster=cluster)

    with pytest.raises(CacheSettingsError, match=r"^REDIS_URL: ") as caught:
        open_client(settings)

    assert SECRET not in str(caught.value)


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_port(certificates: Path) -> Iterator[tuple[RedisServer, int]]:
    with server_with_tls(certificates) as served:
        yield served


@pytest.fixture
def tls_files(certificates: Path) -> dict[str, Path]:
    return client_files(certificates)


async def speak(settings: RedisSettings) -> None:
    client = without_retries(open_client(settings))
    try:
        await client.ping()
    finally:
        await close_client(client)


@needs_server
async def test_tls_with_a_private_authority_and_a_client_certificate(
    tls_port: tuple[RedisServer, int], tls_files: dict[str, Path]
) -> None:
    server, port = tls_port

    await speak(RedisSettings(url=f"rediss://localhost:{port}", **tls_files))
    await speak(RedisSettings(url=f"redis://localhost:{port}", ssl=True, **tls_files))
    await speak(RedisSettings(host="localhost", port=port, ssl=True, **tls_files))

    wait_until_alone(server.url)


@needs_server
async def test_tls_refuses_a_server_of_another_name_by_default(
    tls_port: tuple[RedisServer, int], tls_files: dict[str, Path]
) -> None:
    url = f"rediss://{LOOPBACK}:{tls_port[1]}"

    with pytest.raises(ConnectionError):
        await speak(RedisSettings(url=url, **tls_files))
    await speak(RedisSettings(url=url, ssl_check_hostname=False, **tls_files))


@needs_server
@pytest.mark.parametrize("missing", ["ssl_ca_certs", "ssl_certfile"])
async def test_tls_needs_the_authority_and_the_client_certificate(
    tls_port: tuple[RedisServer, int], tls_files: dict[str, Path], missing: str
) -> None:
    unused = ("ssl_certfile", "ssl_keyfile") if missing == "ssl_certfile" else (missing,)
    files = {name: path for name, path in tls_files.items() if name not in unused}

    with pytest.raises(ConnectionError):
        await speak(RedisSettings(url=f"rediss://localhost:{tls_port[1]}", **files))


@needs_server
@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_a_server_that_hangs_does_not_hold_up_the_end(
    certificates: Path, scheme: str
) -> None:
    tls = TLSFiles(*(certificates / name for name in ("server.pem", "server.key", "ca.pem")))
    with RedisServer(tls=tls if scheme == "rediss" else None) as server:
        client = open_client(RedisSettings(url=server.url.replace(LOOPBACK, "localhost")))
        await who(client)
        server.pause()

        await asyncio.wait_for(close_client(client), timeout=10)


# Sentinel


@pytest.fixture(scope="module")
def watched() -> Iterator[Sentinel]:
    with Sentinel(service="shop") as started:
        yield started


def sentinel_settings(watched: Sentinel, **values: Any) -> RedisSettings:
    host, port = watched.node
    nodes = f"{LOOPBACK}:{free_port()},{host}:{port}"
    return RedisSettings(sentinel=True, sentinel_nodes=nodes, sentinel_master_name="shop", **values)


@needs_server
async def test_sentinels_lead_to_the_master_past_one_that_is_down(watched: Sentinel) -> None:
    client = single(open_client(sentinel_settings(watched, db=2)))

    info = await client.client_info()

    assert info["db"] == 2
    assert info["laddr"] == f"{LOOPBACK}:{watched.primary.port}"
    await close_client(client)


@needs_server
async def test_closing_ends_the_connections_to_the_sentinels_too(watched: Sentinel) -> None:
    url = f"redis://{LOOPBACK}:{watched.sentinel.port}"
    before = others_connected(url)
    client = open_client(sentinel_settings(watched))
    await who(client)
    assert others_connected(url) == before + 1

    await close_client(client)

    wait_until(lambda: others_connected(url) == before, what="the end of the connection")


@needs_server
async def test_an_unknown_master_is_an_error_that_shows_no_password(watched: Sentinel) -> None:
    settings = RedisSettings(
        sentinel=True,
        sentinel_nodes=f"{LOOPBACK}:{free_port()}",
        password=SECRET,
        sentinel_password=SECRET,
    )
    client = open_client(settings)

    with pytest.raises(RedisError) as caught:
        await who(client)

    assert SECRET not in f"{caught.value!r} {client!r}"
    await close_client(client)


@needs_server
async def test_sentinels_and_master_have_passwords_of_their_own() -> None:
    with RedisServer("--requirepass", SECRET) as primary:
        lines = (
            f"sentinel monitor shop {LOOPBACK} {primary.port} 1",
            f"sentinel auth-pass shop {SECRET}",
            f"requirepass {SECRET}-sentinel",
        )
        with RedisServer(sentinel=lines) as sentinel:
            settings = RedisSettings(
                sentinel=True,
                sentinel_nodes=f"{LOOPBACK}:{sentinel.port}",
                sentinel_master_name="shop",
                sentinel_password=f"{SECRET}-sentinel",
                password=SECRET,
            )
            client = open_client(settings)

            assert await who(client) == b"default"
            await close_client(client)


@needs_server
async def test_tls_reaches_the_sentinels_and_the_master(
    tls_port: tuple[RedisServer, int], tls_files: dict[str, Path], certificates: Path
) -> None:
    _, port = tls_port
    sentinel_port = free_port()
    lines = (
        f"tls-port {sentinel_port}",
        "tls-replication yes",
        f"tls-cert-file {certificates / 'server.pem'}",
        f"tls-key-file {certificates / 'server.key'}",
        f"tls-ca-cert-file {certificates / 'ca.pem'}",
        f"sentinel monitor mymaster {LOOPBACK} {port} 1",
    )
    with RedisServer(sentinel=lines):
        # Sentinels give addresses, and the certificate holds a name.
        settings = RedisSettings(
            sentinel=True,
            sentinel_nodes=f"localhost:{sentinel_port}",
            ssl=True,
            ssl_check_hostname=False,
            **tls_files,
        )
        client = single(open_client(settings))
        assert (await client.client_info())["laddr"] == f"{LOOPBACK}:{port}"
        await close_client(client)


# Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster3]:
    with RedisCluster3() as started:
        yield started


@needs_server
async def test_a_cluster_is_reached_by_url_and_by_host(cluster: RedisCluster3) -> None:
    by_url = open_client(RedisSettings(cluster=True, url=cluster.url))
    by_host = open_client(
        RedisSettings(cluster=True, host=LOOPBACK, port=cluster.nodes[1].port, max_connections=5)
    )
    assert isinstance(by_url, RedisCluster)
    assert isinstance(by_host, RedisCluster)

    for number in range(3):
        await by_url.set(f"pool:{number}", number)
    assert [await by_host.get(f"pool:{number}") for number in range(3)] == [b"0", b"1", b"2"]

    await close_client(by_url)
    await close_client(by_host)
    for node in cluster.nodes:
        wait_until_alone(node.url)


# Embedded


async def test_each_embedded_server_is_its_own() -> None:
    first, second = (single(open_client(RedisSettings(url="memory://"))) for _ in range(2))

    await first.set("name", "value", px=60_000)

    assert await first.get("name") == b"value"
    assert await second.get("name") is None
    await close_client(first)
    await close_client(second)


async def test_an_embedded_server_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="redis_fastapi"):
        client = open_client(RedisSettings(url="memory://"))
        await single(client).ping()
        await close_client(client)

    assert [record.getMessage() for record in caplog.records] == [
        "memory://: the cache lives in this one process and is lost when it exits"
    ]


def test_memory_without_fakeredis_names_the_extra_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "fakeredis", None)

    with pytest.raises(CacheSetupError, match=r"pip install 'fastapi-redis-annotated\[memory\]'"):
        open_client(RedisSettings(url="memory://"))


# Secrets


@pytest.mark.parametrize(
    "values",
    [
        {"password": SECRET},
        {"url": f"redis://app:{SECRET}@localhost"},
        {"url": f"unix:///run/redis.sock?password={SECRET}"},
        {"password": SECRET, "cluster": True},
        {"url": f"redis://app:{SECRET}@localhost", "cluster": True},
        {
            "password": SECRET,
            "sentinel_password": SECRET,
            "sentinel": True,
            "sentinel_nodes": "localhost",
        },
    ],
)
async def test_a_client_never_shows_a_password(
    values: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        client = open_client(RedisSettings(**values))
        shown = f"{client!r} {client} {getattr(client, 'connection_pool', None)!r}"
        await close_client(client)

    assert SECRET not in shown
    assert SECRET not in caplog.text
