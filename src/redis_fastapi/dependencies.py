"""Caching declared by dependencies, in the form of Redis's official FastAPI SDK.

    @app.get("/products/{product_id}", dependencies=[Depends(cache(ttl=300,
    eviction_group="products"))])

They compile into the policy that a marker in the return type compiles into, and follow the same
rules of the key. What could not be said safely by a marker is warned about here, once, instead of
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from ._declare import CacheDependency, Declared, KeyBuilder, default_key_builder
from ._runtime import (
    AsyncRedisDep,
    CacheBackendDep,
    SyncCacheBackendDep,
    get_async_redis,
    get_cache_backend,
    get_sync_cache_backend,
)
from .markers import Cached, CacheEvict, CachePut

Names = str | tuple[str, ...]


def cache(
    ttl: int | timedelta | None = None,
    *,
    eviction_group: str = "",
    key_builder: KeyBuilder | None = None,
    prefix: str | None = None,
    cache_prefix: str | None = None,
    private: bool = False,
    group: Names = (),
    vary: Names = (),
    shared: bool | None = None,
    stale_while_revalidate: int | timedelta = 0,
    stale_if_error: int | timedelta = 0,
    when: Callable[[Any], bool] | None = None,
    local: bool | None = None,
    single_flight: bool = True,
    statuses: Mapping[int, int | timedelta] | None = None,
    cdn_ttl: int | timedelta | None = None,
    immutable: bool = False,
    directives: Names = (),
    beta: float = 0.0,
    jitter: float = 0.0,
) -> CacheDependency:
    """Cache the answers to GET; a dependency for ``Depends``, on a route, a router or an inclusion.

    Args:
        ttl: Seconds or timedelta; 0 is no expiry, None takes ``REDIS_DEFAULT_TTL``.
        eviction_group: Group under which ``cache_evict`` finds the entries.
        key_builder: Names the resource in place of path and query; what the endpoint reads from
            headers and cookies selects the variant all the same.
        prefix: Sets these entries apart from those of the same path under another prefix.
        cache_prefix: Another name for ``prefix``.
        private: Add ``private`` to Cache-Control.
        group: Further groups.
        vary: As in ``Cached``.
        shared: As in ``Cached``.
        stale_while_revalidate: As in ``Cached``.
        stale_if_error: As in ``Cached``.
        when: As in ``Cached``.
        local: As in ``Cached``.
        single_flight: As in ``Cached``.
        statuses: As in ``Cached``.
        cdn_ttl: As in ``Cached``.
        immutable: As in ``Cached``.
        directives: As in ``Cached``.
        beta: As in ``Cached``.
        jitter: As in ``Cached``.
    """
    groups = _groups(eviction_group, group)
    marker = Cached(
        ttl,
        group=groups,
        vary=vary,
        shared=shared,
        private=private,
        stale_while_revalidate=stale_while_revalidate,
        stale_if_error=stale_if_error,
        when=when,
        local=local,
        single_flight=single_flight,
        statuses=statuses,
        cdn_ttl=cdn_ttl,
        immutable=immutable,
        directives=directives,
        beta=beta,
        jitter=jitter,
    )
    return CacheDependency(_declared(marker, key_builder, prefix or cache_prefix))


def cache_put(
    ttl: int | timedelta | None = None,
    *,
    eviction_group: str = "",
    key_builder: KeyBuilder | None = None,
    prefix: str | None = None,
    private: bool = False,
    group: Names = (),
    when: Callable[[Any], bool] | None = None,
    strict: bool = False,
    preconditions: bool = False,
) -> CacheDependency:
    """Write a successful answer through to the entry that the GET of the same path reads.

    Where no cached GET reads that path, or it varies by more than the path, the entries are evicted
    instead, and a warning at start-up says so.

    Args:
        ttl: Seconds or timedelta; 0 is no expiry, None takes the GET's.
        eviction_group: The GET's group; the entry joins the groups of the GET in any case.
        key_builder: The GET's key builder, where it has one.
        prefix: The GET's prefix, where it has one.
        private: Accepted for compatibility: the entry is announced as the GET announces it.
        group: The GET's further groups.
        when: As in ``CachePut``.
        strict: As in ``CachePut``.
        preconditions: As in ``CachePut``.
    """
    marker = CachePut(
        ttl,
        group=_groups(eviction_group, group),
        when=when,
        strict=strict,
        preconditions=preconditions,
    )
    return CacheDependency(_declared(marker, key_builder, prefix))


def cache_evict(
    *,
    eviction_group: str = "",
    key_builder: KeyBuilder | None = None,
    prefix: str | None = None,
    group: Names = (),
    when: Callable[[Any], bool] | None = None,
    strict: bool = False,
    soft: bool = False,
    preconditions: bool = False,
) -> CacheDependency:
    """Evict after the endpoint succeeded, before its answer leaves.

    With a ``key_builder``, what it names goes; ``default_key_builder`` stands for every variant of
    this request's path. Without one the groups go, and without any group the whole cache.

    Args:
        eviction_group: Group to evict.
        key_builder: Names the resource to evict.
        prefix: The prefix the entries were stored under.
        group: Further groups to evict.
        when: As in ``CacheEvict``.
        strict: As in ``CacheEvict``.
        soft: As in ``CacheEvict``.
        preconditions: As in ``CacheEvict``.
    """
    groups = _groups(eviction_group, group)
    marker = CacheEvict(
        group=groups, when=when, strict=strict, soft=soft, preconditions=preconditions
    )
    return CacheDependency(_declared(marker, key_builder, prefix))


def _groups(eviction_group: str, group: Names) -> tuple[str, ...]:
    further = (group,) if isinstance(group, str) else group
    return tuple(name for name in (eviction_group, *further) if name)


def _declared(
    marker: Cached | CachePut | CacheEvict, key_builder: KeyBuilder | None, prefix: str | None
) -> Declared:
    return Declared(marker, by_dependency=True, key_builder=key_builder, prefix=prefix or "")


__all__ = [
    "AsyncRedisDep",
    "CacheBackendDep",
    "KeyBuilder",
    "SyncCacheBackendDep",
    "cache",
    "cache_evict",
    "cache_put",
    "default_key_builder",
    "get_async_redis",
    "get_cache_backend",
    "get_sync_cache_backend",
]
