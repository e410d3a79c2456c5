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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, cast
from weakref import WeakKeyDictionary

import redis.exceptions
from fastapi import FastAPI
from redis import Redis as SyncRedis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from starlette.requests import Request
from typing_extensions import Self

from ._compression import compressor
from ._counters import Counters
from ._engine import Bypass, Engine, Hit, Outcome, Stale
from ._entry import Entry
from ._http import Reason
from ._keys import EPOCH, Target, group_name
from ._leases import Lease
from ._registry import Registry, applications, served_by
from ._resource import path_resource
from ._runtime import STATE, get_async_redis, get_cache_backend, runtime_of
from ._store import PASS, Store, lease_kind
from ._targets import Evicted, evicted_resources
from .backend import CacheBackend
from .settings import RedisSettings, get_settings
from .telemetry import Telemetry

try:
    import fakeredis
except ImportError as error:
    raise ImportError(
        "redis_fastapi.testing needs fakeredis: pip install 'fastapi-redis-annotated[memory]'"
    ) from error

if TYPE_CHECKING:
    from redis.asyncio import Connection as _Connection
else:
    _Connection = object

__all__ = [
    "MemoryCache",
    "assert_bypass",
    "assert_hit",
    "assert_miss",
    "assert_not_cached",
    "assert_stale",
]

_PATIENCE_SECONDS = 10.0
"""Deadline of a command: a busy machine is no slow Redis."""

_LONGEST_NAP_SECONDS = 0.001
"""What a pause between two attempts of the engine is cut down to."""


# -- what a response says


class HasHeaders(Protocol):
    """A response of any client."""

    @property
    def headers(self) -> Mapping[str, str]: ...


_MEANING = {
    "HIT": "it came from the cache",
    "STALE": "it came from the cache, past its lifetime or softly evicted",
    "MISS": "the endpoint ran, and its answer was stored where it may be",
    "BYPASS": "the endpoint ran and nothing was stored: Redis is away, or the answer may not be "
    "stored (the logger 'redis_fastapi' says why)",
    None: "the endpoint declares no caching, caching is off or not set up, or the request said "
    "no-store",
}


def assert_hit(response: HasHeaders) -> None:
    """Fail unless the response came from the cache."""
    __tracebackhide__ = True
    _assert_state(response, "HIT")


def assert_miss(response: HasHeaders) -> None:
    """Fail unless the endpoint ran because nothing valid was cached."""
    __tracebackhide__ = True
    _assert_state(response, "MISS")


def assert_stale(response: HasHeaders) -> None:
    """Fail unless the response came from the cache past its lifetime, or softly evicted."""
    __tracebackhide__ = True
    _assert_state(response, "STALE")


def assert_bypass(response: HasHeaders) -> None:
    """Fail unless the endpoint ran without the cache, as while Redis is away."""
    __tracebackhide__ = True
    _assert_state(response, "BYPASS")


def assert_not_cached(response: HasHeaders) -> None:
    """Fail where the cache had any part in the response."""
    __tracebackhide__ = True
    _assert_state(response, None)


def _assert_state(response: HasHeaders, expected: str | None) -> None:
    __tracebackhide__ = True
    found = response.headers.get("x-redis-cache")
    if found != expected:
        meaning = _MEANING.get(found, "no state of this library")
        raise AssertionError(
            f"expected {_shown(expected)}, got {_shown(found)}{_place(response)}: {meaning}"
        )


def _shown(state: str | None) -> str:
    return f"X-Redis-Cache: {state}" if state else "no X-Redis-Cache"


def _place(response: HasHeaders) -> str:
    """Which request it answers, as far as the client's response tells."""
    try:
        request = getattr(response, "request", None)
    except RuntimeError:  # httpx, of a response that no request got
        return ""
    if request is None:
        return ""
    return f" from {request.method} {request.url} ({getattr(response, 'status_code', '?')})"


# -- a Redis that fails on demand


class _Trouble(Enum):
    """What is wrong with Redis."""

    NONE = "none"
    OUTAGE = "outage"
    SLOW = "slow"


@dataclass(slots=True)
class _Switches:
    """What the test has switched; connections and overrides look here."""

    trouble: _Trouble = _Trouble.NONE
    off: bool = False


class _FailingConnection(_Connection):
    """Mixin of a connection of fakeredis: fails as the switches say."""

    switches: _Switches
    _greets = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # What fails here fails for good: a second attempt would only wait.
        self.retry = Retry(NoBackoff(), 0)

    async def _connect(self) -> None:
        self._refuse_in_outage()
        await super()._connect()  # type: ignore[no-untyped-call]  # redis-py's own, without types

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        self._greets = True
        try:
            await super().on_connect_check_health(check_health=check_health)
        finally:
            self._greets = False

    async def send_packed_command(self, *args: Any, **options: Any) -> None:
        self._refuse_in_outage()
        await super().send_packed_command(*args, **options)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        if self.switches.trouble is _Trouble.SLOW and not self._greets:
            # The reply that nobody read must not answer the next command.
            await self.disconnect(nowait=True)
            raise redis.exceptions.TimeoutError("slow Redis: no reply before the deadline")
        return await super().read_response(*args, **options)

    def _refuse_in_outage(self) -> None:
        if self.switches.trouble is _Trouble.OUTAGE:
            raise redis.exceptions.ConnectionError("outage: Redis refuses every connection")


def _new_client(server: fakeredis.FakeServer, switches: _Switches) -> Redis:
    client: Redis = fakeredis.FakeAsyncRedis(server=server)
    pool = client.connection_pool
    bases = (_FailingConnection, pool.connection_class)
    pool.connection_class = type("FailingConnection", bases, {"switches": switches})
    return client


# -- engines that remember, and one that does nothing


@dataclass(slots=True)
class _Journal:
    """What was looked up and what was evicted, with Redis's confirmation."""

    seen: set[Target] = field(default_factory=set)
    entries: set[str] = field(default_factory=set)
    generations: set[str] = field(default_factory=set)

    def note(self, evicted: Evicted) -> None:
        """Remember an eviction that Redis confirmed."""
        self.entries.update(evicted.entries)
        self.generations.update(evicted.generations)

    def covers(self, generations: Iterable[str]) -> bool:
        """Whether one of these, or everything, was evicted."""
        return not self.generations.isdisjoint((EPOCH, *generations))

    def covers_resource(self, resource: str) -> bool:
        """Whether every entry of a resource that was looked up is among what was evicted."""
        named = evicted_resources([resource])
        # a put names the variants beside its own entry, and that entry stays
        if self.covers(()) or not self.entries.isdisjoint(named.entries):
            return True
        there = [target for target in self.seen if _is_of(target, named)]
        return bool(there) and all(self.covers(target.generations) for target in there)


def _is_of(target: Target, named: Evicted) -> bool:
    return target.entry in named.entries or not set(named.generations).isdisjoint(
        target.generations
    )


class _RememberingEngine(Engine):
    """An engine that notes what passes."""

    def __init__(self, store: Store, journal: _Journal, **options: Any) -> None:
        super().__init__(store, **options)
        self._journal = journal

    async def look_up(self, target: Target, **options: Any) -> Outcome:
        self._journal.seen.add(target)
        return await super().look_up(target, **options)

    async def seize(self, target: Target) -> Lease | None:
        self._journal.seen.add(target)
        return await super().seize(target)

    async def evict(
        self, entries: Iterable[str], generations: Iterable[str], *, soft: bool = False
    ) -> bool:
        evicted = Evicted(tuple(entries), tuple(generations))
        confirmed = await super().evict(evicted.entries, evicted.generations, soft=soft)
        if confirmed:
            self._journal.note(evicted)
        return confirmed


class _NoEngine(Engine):
    """The engine while caching is off: nothing is ever there, and nothing is kept."""

    async def look_up(self, target: Target, **options: Any) -> Outcome:
        return Bypass(Reason.UNAVAILABLE)

    async def find(self, target: Target, *, local: bool = False) -> Hit | Stale | None:
        return None

    async def has(self, target: Target) -> bool:
        return False

    async def seize(self, target: Target) -> Lease | None:
        return None

    async def lead(self, target: Target, known: Entry) -> Lease | None:
        return None

    async def evict(
        self, entries: Iterable[str], generations: Iterable[str], *, soft: bool = False
    ) -> bool:
        return True


async def _nap(seconds: float) -> None:
    await asyncio.sleep(min(seconds, _LONGEST_NAP_SECONDS))


# -- the cache


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
        self._installed: list[FastAPI] = []
        self._removals = ExitStack()
        self._server = fakeredis.FakeServer()
        self._switches = _Switches()
        self._journal = _Journal()
        self._now = time.time()
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()
        self.redis: SyncRedis = fakeredis.FakeRedis(server=self._server)
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

    # -- installing

    def install(self, app: FastAPI) -> None:
        """Serve an application, and the ones mounted in it, from this cache until ``remove``."""
        if app in self._installed:
            return
        self._installed.append(app)
        for one in applications(app):
            self._override(one)

    def _override(self, app: FastAPI) -> None:
        overrides = app.dependency_overrides
        had_runtime = hasattr(app.state, STATE)
        for dependency, override in (
            (get_async_redis, self._give_client),
            (get_cache_backend, self._give_backend),
        ):
            self._removals.callback(_restore, overrides, dependency, overrides.get(dependency))
            overrides[dependency] = override
        if not had_runtime:
            self._removals.callback(_forget_runtime, app)

    def remove(self) -> None:
        """Give every application back the overrides that it had."""
        self._removals.close()
        self._installed.clear()

    async def _give_client(self) -> Redis:
        return self._line().client

    async def _give_backend(self, request: Request) -> CacheBackend:
        runtime = runtime_of(request)
        return self._backend_with(runtime.settings if runtime else get_settings())

    def _backend_with(self, settings: RedisSettings) -> CacheBackend:
        if self._switches.off:
            settings = settings.model_copy(update={"enabled": False})
        return CacheBackend.on(self._engine(settings), settings, self._telemetry)

    def _engine(self, settings: RedisSettings) -> Engine:
        line = self._line()
        store = Store(
            line.client, prefix=settings.prefix, deadline=_PATIENCE_SECONDS, clock=self.now
        )
        if self._switches.off:
            return _NoEngine(store, clock=self.now)
        engine = line.engines.get(settings.prefix)
        if engine is None:
            engine = line.engines[settings.prefix] = self._new_engine(store, settings)
        return engine

    def _new_engine(self, store: Store, settings: RedisSettings) -> Engine:
        return _RememberingEngine(
            store,
            self._journal,
            clock=self.now,
            sleep=_nap,
            lease_ms=round(settings.lease_ttl * 1000),
            wait_max=settings.wait_max,
            compress=compressor(settings.compression),
        )

    def _line(self) -> _Line:
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            line = self._lines[loop] = _Line(_new_client(self._server, self._switches))
        return line

    def backend(self, settings: RedisSettings | None = None) -> CacheBackend:
        """A backend on this cache, for code that takes one; call it on the running event loop."""
        return self._backend_with(settings or get_settings())

    # -- time

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
        for key in self._mortal_keys():
            self._age_key(key, round(seconds * 1000))

    def _mortal_keys(self) -> list[bytes]:
        return [key for key in self.redis.keys("*") if not self._is_held_lease(key)]

    def _is_held_lease(self, key: bytes) -> bool:
        """Whether somebody computes under this key: a holder renews its lease while time passes."""
        if b":l:{" not in key:
            return False
        return lease_kind(self.redis.get(key) or PASS) != PASS

    def _age_key(self, key: bytes, milliseconds: int) -> None:
        left = self.redis.pttl(key)
        if left < 0:
            return
        if left > milliseconds:
            self.redis.pexpire(key, left - milliseconds)
        else:
            self.redis.delete(key)

    # -- switches

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Redis refuses every connection, for the time of a ``with``."""
        with self._trouble(_Trouble.OUTAGE):
            yield

    @contextmanager
    def slow(self) -> Iterator[None]:
        """Redis does what it is told, and no reply arrives in time; nobody waits for it here."""
        with self._trouble(_Trouble.SLOW):
            yield

    @contextmanager
    def _trouble(self, trouble: _Trouble) -> Iterator[None]:
        before, self._switches.trouble = self._switches.trouble, trouble
        try:
            yield
        finally:
            self._switches.trouble = before

    @contextmanager
    def off(self) -> Iterator[None]:
        """Nothing is cached, for the time of a ``with``: as if no endpoint declared anything."""
        before, self._switches.off = self._switches.off, True
        try:
            yield
        finally:
            self._switches.off = before

    def clear(self) -> None:
        """Empty the cache, and forget what was evicted and counted."""
        self.redis.flushall()
        self.forget_evictions()
        self.stats.clear()

    # -- evictions

    def forget_evictions(self) -> None:
        """Let ``assert_evicted`` speak only of what is evicted from now on."""
        self._journal.entries.clear()
        self._journal.generations.clear()

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
            raise AssertionError(f"{what} was not evicted. {self._account()}")

    def assert_not_evicted(self, *, group: str | None = None, path: str | None = None) -> None:
        """Fail where ``assert_evicted`` would not."""
        __tracebackhide__ = True
        what, evicted = self._evicted(group, path)
        if evicted:
            raise AssertionError(f"{what} was evicted. {self._account()}")

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
            for app in self._installed
            for resource in Registry(served_by(app.routes)).resources_at(path)
        ]
        return found or [path_resource(path)]

    def _account(self) -> str:
        names = sorted(self._journal.generations)
        if EPOCH in names:
            return "Evicted was the whole cache."
        groups = [repr(name[4:]) for name in names if name.startswith("g:n:")]
        return f"Evicted were {len(self._journal.entries)} paths and " + (
            f"the groups {', '.join(groups)}." if groups else "no group."
        )


def _restore(
    overrides: dict[Callable[..., Any], Callable[..., Any]],
    dependency: Callable[..., Any],
    before: Callable[..., Any] | None,
) -> None:
    if before is None:
        overrides.pop(dependency, None)
    else:
        overrides[dependency] = before


def _forget_runtime(app: FastAPI) -> None:
    """Take away what a request without a lifespan left; a lifespan takes its own away."""
    runtime = getattr(app.state, STATE, None)
    if runtime is not None and runtime.client is None:
        delattr(app.state, STATE)
