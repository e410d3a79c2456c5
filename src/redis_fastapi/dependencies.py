"""Caching declared by dependencies, in the form of Redis's official FastAPI SDK.

    @app.get("/products/{product_id}", dependencies=[Depends(cache(ttl=300,
    eviction_group="products"))])

They compile into the same policies as markers in return types, and follow the same rules for keys.
What would be refused for a marker is a warning here, logged once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from ._app.runtime import (
    AsyncRedisDep,
    CacheBackendDep,
    SyncCacheBackendDep,
    get_async_redis,
    get_cache_backend,
    get_sync_cache_backend,
)
from ._policy.declare import CacheDependency, Declared, KeyBuilder, default_key_builder
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
    """Cache responses to GET: a dependency for a route, a router or ``include_router``.

    Args:
        ttl: Seconds or timedelta; 0 means no expiry, None means ``REDIS_DEFAULT_TTL``.
        eviction_group: Group by which ``cache_evict`` evicts the entries.
        key_builder: Names the resource instead of path and query; headers and cookies that the
            endpoint reads still select the variant.
        prefix: Separates these entries from those of the same path with another prefix.
        cache_prefix: Another name for ``prefix``.
        private: Add ``private`` to Cache-Control.
        group: Additional groups.
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
    """Write a successful response to the entry that the GET of the same path reads.

    If no cached GET reads that path, or it varies by more than the path, the entries are evicted
    instead, with a warning at start-up.

    Args:
        ttl: Seconds or timedelta; 0 means no expiry, None means the GET's.
        eviction_group: The GET's group; the entry joins the groups of the GET in any case.
        key_builder: The GET's key builder, if it has one.
        prefix: The GET's prefix, if it has one.
        private: Accepted for compatibility; the GET decides about ``private``.
        group: The GET's additional groups.
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
    """Evict after the endpoint has succeeded, before its response is sent.

    With a ``key_builder``, evicts what it names; ``default_key_builder`` means every variant of
    this request's path. Without one, evicts the groups, and without any group the whole cache.

    Args:
        eviction_group: Group to evict.
        key_builder: Names the resource to evict.
        prefix: The prefix under which the entries were stored.
        group: Additional groups to evict.
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
