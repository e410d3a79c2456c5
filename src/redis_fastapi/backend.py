"""The cache for values of your own, by key and group, on the engine that serves the endpoints.

A value is stored like a response's body, under the same groups, so ``CacheEvict(group="products")``
on an endpoint also evicts the values of ``CacheBackend`` in ``products``, and vice versa.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import lru_cache, partial
from math import ceil
from typing import Any, TypeVar, cast, overload

import orjson
from anyio import from_thread
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python
from redis.asyncio import Redis, RedisCluster

from ._engine.engine import Engine, Hit, Miss
from ._engine.leases import Lease
from ._engine.no_engine import NoEngine
from ._policy.facts import seconds_of
from ._redis.compression import compressor
from ._redis.entry import Entry
from ._redis.keys import EPOCH, Target, digest, group_name
from ._redis.store import Store
from .settings import RedisSettings, get_settings
from .telemetry import Telemetry

T = TypeVar("T")
D = TypeVar("D")

logger = logging.getLogger("redis_fastapi")

_SHAPE = b"backend1"
"""Separates stored values from stored responses; 8 bytes like every shape."""


class CacheBackend:
    """Get, set and delete values in the cache.

    Keys are strings; a key belongs to one group, or to none. Values are anything that orjson and
    pydantic can write as JSON. If Redis is unreachable, reads are misses and writes are dropped and
    logged; there is never an exception.

    Args:
        client: An asyncio client of redis-py; ``CacheBackendDep`` uses the application's.
        eviction_group: Group of all keys, unless a call names another.
        settings: Behaviour of the cache, the location of Redis aside; None reads the environment.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        *,
        eviction_group: str = "",
        settings: RedisSettings | None = None,
    ) -> None:
        self._settings = settings = settings or get_settings()
        store = Store(
            client,
            prefix=settings.prefix,
            deadline=settings.deadline,
            wait_replicas=settings.wait_replicas,
        )
        kind = Engine if settings.enabled else NoEngine
        self.engine = kind(
            store,
            lease_ms=round(settings.lease_ttl * 1000),
            wait_max=settings.wait_max,
            compress=compressor(settings.compression),
        )
        self.telemetry: Telemetry | None = None
        self._group = eviction_group

    @classmethod
    def on(
        cls, engine: Engine, settings: RedisSettings, telemetry: Telemetry | None = None
    ) -> CacheBackend:
        """A backend that shares an application's engine, and thus its single flight.

        Args:
            engine: The engine.
            settings: Prefix, default lifetime and size limits.
            telemetry: Listeners to requests that are served through this backend.
        """
        backend = cls.__new__(cls)
        backend.engine = engine
        backend.telemetry = telemetry
        backend._settings = settings
        backend._group = ""
        return backend

    @property
    def enabled(self) -> bool:
        """Whether caching is on."""
        return self._settings.enabled

    @overload
    async def get(self, key: str, *, eviction_group: str | None = None) -> Any: ...
    @overload
    async def get(self, key: str, *, default: D, eviction_group: str | None = None) -> Any | D: ...
    @overload
    async def get(
        self, key: str, *, type: type[T], eviction_group: str | None = None
    ) -> T | None: ...
    @overload
    async def get(
        self, key: str, *, type: type[T], default: D, eviction_group: str | None = None
    ) -> T | D: ...
    async def get(
        self,
        key: str,
        *,
        type: Any = None,
        default: Any = None,
        eviction_group: str | None = None,
    ) -> Any:
        """The value of a key, or ``default``.

        Args:
            key: The key, within its group.
            type: Type to validate the value as; without it, plain JSON data. A stored value that is
                not valid counts as missing, and is logged.
            default: What to return on a miss.
            eviction_group: The key's group, if not the backend's.
        """
        target, local = self._target(key, eviction_group), self._settings.local_cache
        found = await self.engine.peek(target, local=local)
        if found is None:
            return default
        return self._decoded(found.body, type, default, key)

    async def set(
        self,
        key: str,
        value: Any,
        *,
        ttl: int | timedelta | None = None,
        eviction_group: str | None = None,
    ) -> None:
        """Store a value, and drop what others were about to store for the key.

        If it cannot be stored, an older value of the key is evicted.

        Args:
            key: The key, within its group.
            value: Anything pydantic can write as JSON.
            ttl: Seconds or timedelta; 0 means no expiry, None the configured default.
            eviction_group: The key's group, if not the backend's.

        Raises:
            ValueError: If ``ttl`` is negative, or the value is larger than ``REDIS_MAX_BODY_SIZE``.
            TypeError: If the value cannot be written as JSON.
        """
        entry = self._entry(value, self._lifetime_ms(ttl))
        target = self._target(key, eviction_group)
        lease = await self.engine.seize(target)
        stored = lease is not None and await self.engine.put(lease, entry, entry.fresh_ms or None)
        if lease is None:
            await self.engine.evict([target.entry], [])
        if self.enabled and not stored:
            logger.warning("key %r was not stored: Redis is away or it was evicted meanwhile", key)

    async def delete(self, key: str, *, eviction_group: str | None = None) -> bool:
        """Delete a key; returns whether Redis confirmed it."""
        return await self.engine.evict([self._target(key, eviction_group).entry], [])

    async def has(self, key: str, *, eviction_group: str | None = None) -> bool:
        """Whether a key has a valid value; the value itself is not read."""
        return await self.engine.has(self._target(key, eviction_group))

    async def delete_group(self, eviction_group: str | None = None) -> bool:
        """Evict a group, including endpoints' entries in it; without a group, the whole cache.

        Takes the same time for any number of entries. Returns whether Redis confirmed it.
        """
        group = self._group if eviction_group is None else eviction_group
        return await self.engine.evict([], [group_name(group) if group else EPOCH])

    @overload
    async def get_or_set(
        self,
        key: str,
        factory: Callable[[], Awaitable[T]],
        *,
        ttl: int | timedelta | None = None,
        eviction_group: str | None = None,
    ) -> T: ...
    @overload
    async def get_or_set(
        self,
        key: str,
        factory: Callable[[], T],
        *,
        ttl: int | timedelta | None = None,
        eviction_group: str | None = None,
    ) -> T: ...
    @overload
    async def get_or_set(
        self,
        key: str,
        factory: Callable[[], Awaitable[Any] | Any],
        *,
        type: type[T],
        ttl: int | timedelta | None = None,
        eviction_group: str | None = None,
    ) -> T: ...
    async def get_or_set(
        self,
        key: str,
        factory: Callable[[], Any],
        *,
        type: Any = None,
        ttl: int | timedelta | None = None,
        eviction_group: str | None = None,
    ) -> Any:
        """The value of a key, or the result of ``factory``, which is then stored.

        One caller at a time runs the factory for a key, across all processes; the others wait for
        its value. If an eviction happens meanwhile, the value is returned but not stored.

        Args:
            key: The key, within its group.
            factory: Plain or async function without arguments; its errors are raised to the caller.
            type: Type to validate a stored value as; without it a hit is plain JSON data.
            ttl: Seconds or timedelta; 0 means no expiry, None the configured default.
            eviction_group: The key's group, if not the backend's.
        """
        lifetime_ms = self._lifetime_ms(ttl)
        value, lease = await self._begin(key, type, eviction_group)
        if value is not _MISSING:
            return value
        try:
            value = factory()
            if isinstance(value, Awaitable):
                value = await value
        except BaseException:
            await _release(lease)
            raise
        await self._end(lease, key, value, lifetime_ms)
        return value

    async def _begin(
        self, key: str, wanted: Any, eviction_group: str | None
    ) -> tuple[Any, Lease | None]:
        """The value, or else the lease under which to store one, if it can be stored."""
        target = self._target(key, eviction_group)
        outcome = await self.engine.look_up(target, local=self._settings.local_cache)
        if isinstance(outcome, Hit):
            value = self._decoded(outcome.entry.body, wanted, _MISSING, key)
            if value is not _MISSING:
                return value, None
            outcome = await self.engine.look_up(target, refresh=True)
        return _MISSING, outcome.lease if isinstance(outcome, Miss) else None

    async def _end(self, lease: Lease | None, key: str, value: Any, lifetime_ms: int) -> None:
        """Store a computed value; one that cannot be stored is only logged."""
        if lease is None:
            return
        try:
            entry = self._entry(value, lifetime_ms)
        except (TypeError, ValueError) as error:
            logger.warning("value of key %r is not stored: %s", key, error)
            await lease.release(storable=False)
            return
        await lease.fill(entry, entry.fresh_ms or None)

    def _target(self, key: str, eviction_group: str | None) -> Target:
        group = self._group if eviction_group is None else eviction_group
        generations = (EPOCH, group_name(group)) if group else (EPOCH,)
        return Target(digest(["backend", group, key]), generations, _SHAPE)

    def _lifetime_ms(self, ttl: int | timedelta | None) -> int:
        """A ttl in milliseconds, 0 for no expiry; raises ValueError if it is not a lifetime."""
        seconds = float(self._settings.default_ttl) if ttl is None else seconds_of(ttl)
        if seconds is None or seconds < 0:
            raise ValueError(f"ttl={ttl!r} is not a lifetime of seconds or a timedelta, 0 or more")
        return ceil(seconds * 1000)

    def _entry(self, value: Any, lifetime_ms: int) -> Entry:
        body = orjson.dumps(value, default=to_jsonable_python, option=orjson.OPT_NON_STR_KEYS)
        if len(body) > self._settings.max_body_size:
            raise ValueError(f"value of {len(body)} bytes is larger than REDIS_MAX_BODY_SIZE")
        return Entry(200, (), body, self.engine.now_ms(), lifetime_ms)

    def _decoded(self, body: bytes, wanted: Any, default: Any, key: str) -> Any:
        try:
            return orjson.loads(body) if wanted is None else _adapter(wanted).validate_json(body)
        except (ValidationError, ValueError) as error:
            logger.warning("value of key %r counts as missing: %s", key, _reason(error))
            return default


_MISSING = object()


def _reason(error: ValueError) -> str:
    """What is invalid, without the value."""
    if isinstance(error, ValidationError):
        problem = error.errors(include_input=False, include_url=False)[0]
        return f"{'.'.join(map(str, problem['loc'])) or 'value'}: {problem['msg']}"
    return "it is not JSON"


def _adapter(wanted: Any) -> TypeAdapter[Any]:
    try:
        return _kept_adapter(wanted)
    except TypeError:  # metadata in Annotated need not be hashable
        return TypeAdapter(wanted)


@lru_cache(maxsize=256)
def _kept_adapter(wanted: Any) -> TypeAdapter[Any]:
    return TypeAdapter(wanted)


async def _release(lease: Lease | None) -> None:
    if lease is not None:
        await lease.release()


class SyncCacheBackend:
    """``CacheBackend`` for ``def`` endpoints and dependencies, which run in worker threads.

    Every method raises RuntimeError in a thread that no event loop of FastAPI started.
    """

    def __init__(self, backend: CacheBackend) -> None:
        self._backend = backend

    @overload
    def get(self, key: str, *, eviction_group: str | None = None) -> Any: ...
    @overload
    def get(self, key: str, *, default: D, eviction_group: str | None = None) -> Any | D: ...
    @overload
    def get(self, key: str, *, type: type[T], eviction_group: str | None = None) -> T | None: ...
    @overload
    def get(
        self, key: str, *, type: type[T], default: D, eviction_group: str | None = None
    ) -> T | D: ...
    def get(self, key: str, **options: Any) -> Any:
        """Like ``CacheBackend.get``."""
        return from_thread.run(partial(self._backend.get, key, **options))

    def set(
        self,
        key: str,
        value: Any,
        *,
        ttl: int | timedelta | None = None,
        eviction_group: str | None = None,
    ) -> None:
        """Like ``CacheBackend.set``."""
        call = partial(self._backend.set, key, value, ttl=ttl, eviction_group=eviction_group)
        from_thread.run(call)

    def delete(self, key: str, *, eviction_group: str | None = None) -> bool:
        """Like ``CacheBackend.delete``."""
        return from_thread.run(partial(self._backend.delete, key, eviction_group=eviction_group))

    def has(self, key: str, *, eviction_group: str | None = None) -> bool:
        """Like ``CacheBackend.has``."""
        return from_thread.run(partial(self._backend.has, key, eviction_group=eviction_group))

    def delete_group(self, eviction_group: str | None = None) -> bool:
        """Like ``CacheBackend.delete_group``."""
        return from_thread.run(self._backend.delete_group, eviction_group)

    def get_or_set(
        self,
        key: str,
        factory: Callable[[], T],
        *,
        type: Any = None,
        ttl: int | timedelta | None = None,
        eviction_group: str | None = None,
    ) -> T:
        """Like ``CacheBackend.get_or_set``; the factory runs in the calling thread."""
        lifetime_ms = self._backend._lifetime_ms(ttl)
        found, lease = from_thread.run(self._backend._begin, key, type, eviction_group)
        if found is not _MISSING:
            return cast(T, found)
        try:
            value = factory()
        except BaseException:
            from_thread.run(_release, lease)
            raise
        from_thread.run(self._backend._end, lease, key, value, lifetime_ms)
        return value
