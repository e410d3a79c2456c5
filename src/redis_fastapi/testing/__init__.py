"""An in-memory cache for tests, with a clock the test controls and a Redis that fails on demand.

    with MemoryCache(app) as cache, TestClient(app) as client:
        assert_miss(client.get("/products/1"))
        assert_hit(client.get("/products/1"))
        cache.advance(301)
        assert_miss(client.get("/products/1"))

- Every cache has its own server, so nothing is shared between tests.
- It is installed in an application's ``dependency_overrides``, and leaves nothing behind when it is
  removed.
- Its clock stands still unless the test advances it, so ages are exact; advancing it brings every
  key closer to its expiry. Real time also counts, so keys can only expire earlier.
- It needs fakeredis, the extra ``memory``. The pytest plugin provides one as the fixture
  ``redis_cache``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import cast
from weakref import WeakKeyDictionary

from fastapi import FastAPI
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from starlette.requests import HTTPConnection
from typing_extensions import Self

from .._app.runtime import get_async_redis, get_cache_backend, runtime_of, settings_of
from .._engine.engine import Engine
from .._engine.no_engine import NoEngine
from .._policy.resource import path_resource
from .._redis.compression import compressor
from .._redis.keys import group_name
from .._redis.store import Store
from .._routes.registry import Registry, served_by
from .._telemetry.counters import Counters
from ..backend import CacheBackend
from ..settings import RedisSettings, get_settings
from ..telemetry import Telemetry
from ._ageing import age
from ._assertions import (
    HasHeaders,
    assert_bypass,
    assert_hit,
    assert_miss,
    assert_not_cached,
    assert_stale,
)
from ._failing import FailingServer, Trouble
from ._journal import Journal, JournalingEngine, short_sleep
from ._overrides import Overrides

__all__ = [
    "HasHeaders",
    "MemoryCache",
    "assert_bypass",
    "assert_hit",
    "assert_miss",
    "assert_not_cached",
    "assert_stale",
]

_PATIENCE_SECONDS = 10.0
"""Deadline of a command; generous, since the test machine may be busy."""


@dataclass(frozen=True, slots=True)
class _LoopClient:
    """One event loop's client and its engines, by prefix."""

    client: Redis
    engines: dict[str, Engine] = field(default_factory=dict)


class MemoryCache:
    """An in-memory cache for the applications it is installed in.

    As a context manager it removes itself from them at the end. Any event loop and thread may use
    it, so it works with ``TestClient``, as a context manager or not, and with ``ASGITransport``.

    Args:
        apps: Applications to install it in on entering.
    """

    def __init__(self, *apps: FastAPI) -> None:
        self._apps = apps
        self._overrides = Overrides(
            {get_async_redis: self._give_client, get_cache_backend: self._give_backend}
        )
        self._server = FailingServer()
        self._off = False
        self._journal = Journal()
        self._now = time.time()
        self._loop_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopClient] = (
            WeakKeyDictionary()
        )
        self.redis: SyncRedis = self._server.plain_client()
        """A plain client for inspection, not affected by outages."""
        self.stats = Counters()
        """What was counted, by route: ``cache.stats["GET /products/{product_id}"].hits``."""
        self._telemetry = Telemetry((self.stats,))

    def __enter__(self) -> Self:
        for app in self._apps:
            self.install(app)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def install(self, app: FastAPI) -> None:
        """Serve an application, and those mounted in it, from this cache until ``remove``."""
        self._overrides.install(app)

    def remove(self) -> None:
        """Restore the previous overrides of every application."""
        self._overrides.remove()

    async def _give_client(self) -> Redis:
        return self._loop_client().client

    async def _give_backend(self, request: HTTPConnection) -> CacheBackend:
        runtime = runtime_of(request)
        return self._backend_with(runtime.settings if runtime else settings_of(request.app))

    def _backend_with(self, settings: RedisSettings) -> CacheBackend:
        if self._off:
            settings = settings.model_copy(update={"enabled": False})
        return CacheBackend.on(self._engine(settings), settings, self._telemetry)

    def _engine(self, settings: RedisSettings) -> Engine:
        own = self._loop_client()
        store = Store(
            own.client, prefix=settings.prefix, deadline=_PATIENCE_SECONDS, clock=self.now
        )
        if not settings.enabled:
            return NoEngine(store, clock=self.now)
        engine = own.engines.get(settings.prefix)
        if engine is None:
            engine = own.engines[settings.prefix] = self._new_engine(store, settings)
        return engine

    def _new_engine(self, store: Store, settings: RedisSettings) -> Engine:
        return JournalingEngine(
            store,
            self._journal,
            clock=self.now,
            sleep=short_sleep,
            lease_ms=round(settings.lease_ttl * 1000),
            wait_max=settings.wait_max,
            compress=compressor(settings.compression),
        )

    def _loop_client(self) -> _LoopClient:
        loop = asyncio.get_running_loop()
        own = self._loop_clients.get(loop)
        if own is None:
            own = self._loop_clients[loop] = _LoopClient(self._server.failing_client())
        return own

    def backend(self, settings: RedisSettings | None = None) -> CacheBackend:
        """A backend on this cache, for code that takes one; call this on the running event loop."""
        return self._backend_with(settings or get_settings())

    def now(self) -> float:
        """The cache's time, in seconds since 1970."""
        return self._now

    def advance(self, by: float | timedelta) -> None:
        """Let time pass: ages grow, and every key comes closer to its expiry.

        Args:
            by: Seconds or timedelta, 0 or more.

        Raises:
            ValueError: If ``by`` is negative.
        """
        seconds = by.total_seconds() if isinstance(by, timedelta) else float(by)
        if seconds < 0:
            raise ValueError(f"time does not go back: {by!r}")
        self._now += seconds
        age(self.redis, round(seconds * 1000))

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Redis refuses every connection, for the duration of a ``with``."""
        with self._server.having(Trouble.OUTAGE):
            yield

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Redis executes commands, but no reply arrives in time; the test does not wait for it."""
        with self._server.having(Trouble.SLOW):
            yield

    @contextmanager
    def off(self) -> Iterator[None]:
        """Nothing is cached for the duration of a ``with``, as if no endpoint declared caching."""
        before, self._off = self._off, True
        try:
            yield
        finally:
            self._off = before

    def clear(self) -> None:
        """Empty the cache, and forget evictions and counts."""
        self.redis.flushall()
        self.forget_evictions()
        self.stats.clear()

    def forget_evictions(self) -> None:
        """Let ``assert_evicted`` consider only evictions from now on."""
        self._journal.clear()

    def assert_evicted(self, *, group: str | None = None, path: str | None = None) -> None:
        """Fail unless Redis has confirmed the eviction of a group, or of all entries at a path.

        Args:
            group: The group's name, with its fields filled in: ``"product:1"``.
            path: The path as clients write it, without query; it also counts if a group that all
                its entries are in was evicted.
        """
        __tracebackhide__ = True
        what, evicted = self._evicted(group, path)
        if not evicted:
            raise AssertionError(f"{what} was not evicted. {self._journal.account()}")

    def assert_not_evicted(self, *, group: str | None = None, path: str | None = None) -> None:
        """Fail if ``assert_evicted`` would succeed."""
        __tracebackhide__ = True
        what, evicted = self._evicted(group, path)
        if evicted:
            raise AssertionError(f"{what} was evicted. {self._journal.account()}")

    def _evicted(self, group: str | None, path: str | None) -> tuple[str, bool]:
        if (group is None) == (path is None):
            raise TypeError("name either group= or path=")
        if group is not None:
            return f"group {group!r}", self._journal.covers([group_name(group)])
        resources = self._resources(cast("str", path))
        covered = all(self._journal.covers_resource(resource) for resource in resources)
        return f"path {path!r}", covered

    def _resources(self, path: str) -> list[str]:
        found = [
            resource
            for app in self._overrides.apps
            for resource in Registry(served_by(app.routes)).resources_at(path)
        ]
        return found or [path_resource(path)]
