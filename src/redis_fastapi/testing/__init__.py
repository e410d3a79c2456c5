"""A cache for tests: in memory, with a clock that the test moves and a Redis that fails on demand.

    with MemoryCache(app) as cache, TestClient(app) as client:
        assert_miss(client.get("/products/1"))
        assert_hit(client.get("/products/1"))
        cache.advance(301)
        assert_miss(client.get("/products/1"))

- Every cache has a server of its own, so nothing passes from test to test.
- It stands in an application's ``dependency_overrides`` and leaves nothing behind when it is taken
  out.
- Its clock stands still unless the test moves it, so ages are exact; moving it moves the expiry of
  every key. Real time also counts against a key's expiry, so it can only go earlier.
- Needs fakeredis, the extra ``memory``. The pytest plugin gives one as the fixture
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

from .._compression import compressor
from .._counters import Counters
from .._engine import Engine
from .._keys import group_name
from .._no_engine import NoEngine
from .._registry import Registry, served_by
from .._resource import path_resource
from .._runtime import get_async_redis, get_cache_backend, runtime_of, settings_of
from .._store import Store
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
"""Deadline of a command: a busy machine is no slow Redis."""


@dataclass(frozen=True, slots=True)
class _Line:
    """One event loop's client and its engines, by prefix."""

    client: Redis
    engines: dict[str, Engine] = field(default_factory=dict)


class MemoryCache:
    """A cache in memory, for the applications it is installed in.

    As a context manager it takes itself out of them at the end. Any event loop and thread may use
    it, so it serves ``TestClient`` inside and outside of ``with``, and ``ASGITransport``.

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
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()
        self.redis: SyncRedis = self._server.plain_client()
        """A plain client to look inside with; no switch reaches it."""
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
        """Serve an application, and the ones mounted in it, from this cache until ``remove``."""
        self._overrides.install(app)

    def remove(self) -> None:
        """Give every application back the overrides that it had."""
        self._overrides.remove()

    async def _give_client(self) -> Redis:
        return self._line().client

    async def _give_backend(self, request: HTTPConnection) -> CacheBackend:
        runtime = runtime_of(request)
        return self._backend_with(runtime.settings if runtime else settings_of(request.app))

    def _backend_with(self, settings: RedisSettings) -> CacheBackend:
        if self._off:
            settings = settings.model_copy(update={"enabled": False})
        return CacheBackend.on(self._engine(settings), settings, self._telemetry)

    def _engine(self, settings: RedisSettings) -> Engine:
        line = self._line()
        store = Store(
            line.client, prefix=settings.prefix, deadline=_PATIENCE_SECONDS, clock=self.now
        )
        if not settings.enabled:
            return NoEngine(store, clock=self.now)
        engine = line.engines.get(settings.prefix)
        if engine is None:
            engine = line.engines[settings.prefix] = self._new_engine(store, settings)
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

    def _line(self) -> _Line:
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            line = self._lines[loop] = _Line(self._server.failing_client())
        return line

    def backend(self, settings: RedisSettings | None = None) -> CacheBackend:
        """A backend on this cache, for code that takes one; call it on the running event loop."""
        return self._backend_with(settings or get_settings())

    def now(self) -> float:
        """The cache's time, in seconds since 1970."""
        return self._now

    def advance(self, by: float | timedelta) -> None:
        """Let time pass: ages grow, and every key comes nearer to its expiry.

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
        """Redis refuses every connection, for the time of a ``with``."""
        with self._server.having(Trouble.OUTAGE):
            yield

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Redis does what it is told, and no reply arrives in time; nobody waits for it here."""
        with self._server.having(Trouble.SLOW):
            yield

    @contextmanager
    def off(self) -> Iterator[None]:
        """Nothing is cached, for the time of a ``with``: as if no endpoint declared anything."""
        before, self._off = self._off, True
        try:
            yield
        finally:
            self._off = before

    def clear(self) -> None:
        """Empty the cache, and forget what was evicted and counted."""
        self.redis.flushall()
        self.forget_evictions()
        self.stats.clear()

    def forget_evictions(self) -> None:
        """Let ``assert_evicted`` speak only of what is evicted from now on."""
        self._journal.clear()

    def assert_evicted(self, *, group: str | None = None, path: str | None = None) -> None:
        """Fail unless Redis has confirmed an eviction of this group, or of all that is at a path.

        Args:
            group: The group's name, its fields filled in: ``"product:1"``.
            path: The path as a client writes it, without query; evicting a group that all its
                entries are in counts, too.
        """
        __tracebackhide__ = True
        what, evicted = self._evicted(group, path)
        if not evicted:
            raise AssertionError(f"{what} was not evicted. {self._journal.account()}")

    def assert_not_evicted(self, *, group: str | None = None, path: str | None = None) -> None:
        """Fail where ``assert_evicted`` would not."""
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
