"""The Redis client of an application, created from its settings and closed with it.

Rules:
    - Opening a client sends nothing, so an application starts while Redis is down.
    - What the settings leave open keeps the default of redis-py: endpoints use this client too.
    - Passwords travel in credential providers; some redis-py print a pool with its password.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from pydantic import SecretStr
from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.credentials import UsernamePasswordCredentialProvider
from redis.exceptions import RedisError

from ..exceptions import CacheSettingsError, CacheSetupError
from ..settings import RedisSettings

logger = logging.getLogger("redis_fastapi")

_SENTINEL_PATIENCE = 1.0
"""Default seconds for a Sentinel to reply before the next one is tried."""

_CLOSING_PATIENCE = 2.0
"""Seconds for a server to take part in closing its connections."""


def open_client(settings: RedisSettings) -> Redis | RedisCluster:
    """Create a client for the server, cluster or Sentinels in the settings; it connects lazily.

    Raises:
        CacheSettingsError: The URL holds an option that redis-py does not know.
        CacheSetupError: ``memory://`` is requested and fakeredis is not installed.
    """
    if settings.in_memory:
        return _open_memory()
    if settings.sentinel:
        return _open_sentinel(settings)
    if settings.cluster:
        return _open_cluster(settings)
    return _open_standalone(settings)


async def close_client(client: Redis | RedisCluster) -> None:
    """Close all connections of the client and of its Sentinels; a failure is logged, not raised."""
    # A hung server never ends its side of TLS, which Python 3.10 awaits without a limit.
    closing = (
        asyncio.wait_for(_close(each), _CLOSING_PATIENCE)
        for each in (client, *_sentinel_clients(client))
    )
    for outcome in await asyncio.gather(*closing, return_exceptions=True):
        if isinstance(outcome, Exception):
            logger.warning("A Redis client did not close cleanly: %s", type(outcome).__name__)


async def _close(client: Redis | RedisCluster) -> None:
    await client.aclose()
    if isinstance(client, RedisCluster):
        # A cluster client closes nothing while it is about to learn the nodes anew.
        await asyncio.gather(*(node.disconnect() for node in client.get_nodes()))


def _sentinel_clients(client: Redis | RedisCluster) -> list[Redis]:
    if isinstance(client, RedisCluster):
        return []
    pool = client.connection_pool
    return list(pool.sentinel_manager.sentinels) if isinstance(pool, SentinelConnectionPool) else []


def _open_memory() -> Redis:
    try:
        fakeredis = import_module("fakeredis")
    except ImportError:
        raise CacheSetupError(
            "REDIS_URL=memory:// needs fakeredis: pip install 'fastapi-redis-annotated[memory]'"
        ) from None
    client: Redis = fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer())
    logger.warning("memory://: the cache lives in this one process and is lost when it exits")
    return client


def _open_standalone(settings: RedisSettings) -> Redis:
    with _refusing_url_options(settings):
        client = Redis(**_options(settings))
        # A connection checks options that the client only hands on.
        client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    return client


def _open_cluster(settings: RedisSettings) -> RedisCluster:
    with _refusing_url_options(settings):
        client = RedisCluster(**{"host": "localhost"} | _options(settings))
    _leave_library_name_to_connections(client)
    return client


@contextmanager
def _refusing_url_options(settings: RedisSettings) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, AttributeError, RedisError):
        if settings.url is None:
            raise
        problem = "redis-py cannot use one of the options behind the '?'"
        raise CacheSettingsError(f"REDIS_URL: {problem}") from None


def _leave_library_name_to_connections(client: RedisCluster) -> None:
    # redis-py 7.4 passes its own name in a way that it deprecates, a warning a connection.
    nodes = client.nodes_manager.startup_nodes.values()
    for options in (client.connection_kwargs, *(node.connection_kwargs for node in nodes)):
        options.pop("lib_name", None)
        options.pop("lib_version", None)


def _open_sentinel(settings: RedisSettings) -> Redis:
    shared = _timeouts(settings) | _tls_options(settings)
    to_sentinels = {
        "socket_timeout": _SENTINEL_PATIENCE,
        "socket_connect_timeout": _SENTINEL_PATIENCE,
        # The next Sentinel is the retry.
        "retry": Retry(NoBackoff(), 0),
    }
    to_sentinels |= shared | _login(
        settings.sentinel_username, _revealed(settings.sentinel_password)
    )
    to_master = {"db": settings.db} | shared | _pool_size(settings) | _settings_login(settings)
    sentinel = Sentinel(list(settings.sentinel_nodes), sentinel_kwargs=to_sentinels)
    return sentinel.master_for(settings.sentinel_master_name, **to_master)


def _options(settings: RedisSettings) -> dict[str, Any]:
    """Arguments for a server or cluster node; options in the URL win, as in redis-py."""
    general = _timeouts(settings) | _pool_size(settings) | _tls_options(settings)
    if settings.url is not None:
        return general | _url_options(settings.url.get_secret_value())
    place = {"host": settings.host, "port": settings.port, "db": settings.db}
    return general | place | _settings_login(settings)


def _url_options(url: str) -> dict[str, Any]:
    options: dict[str, Any] = {**parse_url(url)}
    options.pop("connection_class", None)
    if "path" in options:
        options["unix_socket_path"] = options.pop("path")
    return options | _login(options.pop("username", None), options.pop("password", None))


def _timeouts(settings: RedisSettings) -> dict[str, Any]:
    return _set_options(settings, "socket_timeout", "socket_connect_timeout")


def _pool_size(settings: RedisSettings) -> dict[str, Any]:
    return _set_options(settings, "max_connections")


def _tls_options(settings: RedisSettings) -> dict[str, Any]:
    if not settings.tls:
        return {}
    files = _set_options(settings, "ssl_certfile", "ssl_keyfile", "ssl_ca_certs")
    paths = {name: str(path) for name, path in files.items()}
    return {"ssl": True, "ssl_check_hostname": settings.ssl_check_hostname} | paths


def _set_options(settings: RedisSettings, *names: str) -> dict[str, Any]:
    values = {name: getattr(settings, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def _settings_login(settings: RedisSettings) -> dict[str, Any]:
    return _login(settings.username, _revealed(settings.password))


def _login(username: str | None, password: str | None) -> dict[str, Any]:
    if not username and not password:
        return {}
    return {"credential_provider": UsernamePasswordCredentialProvider(username, password)}


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None
