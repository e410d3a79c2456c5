"""Response caching for FastAPI on Redis, declared in the return type."""

from .backend import CacheBackend, SyncCacheBackend
from .dependencies import (
    AsyncRedisDep,
    CacheBackendDep,
    SyncCacheBackendDep,
    cache,
    cache_evict,
    cache_put,
    default_key_builder,
    get_async_redis,
    get_cache_backend,
    get_sync_cache_backend,
)
from .exceptions import (
    CacheDeclarationError,
    CacheError,
    CacheSettingsError,
    CacheSetupError,
    CacheUnavailableError,
)
from .markers import Cached, CacheEvict, CachePut
from .route import CacheRoute
from .settings import RedisSettings, get_settings
from .setup import FastAPIRedis, redis_lifespan

__all__ = [
    "AsyncRedisDep",
    "CacheBackend",
    "CacheBackendDep",
    "CacheDeclarationError",
    "CacheError",
    "CacheEvict",
    "CachePut",
    "CacheRoute",
    "CacheSettingsError",
    "CacheSetupError",
    "CacheUnavailableError",
    "Cached",
    "FastAPIRedis",
    "RedisSettings",
    "SyncCacheBackend",
    "SyncCacheBackendDep",
    "cache",
    "cache_evict",
    "cache_put",
    "default_key_builder",
    "get_async_redis",
    "get_cache_backend",
    "get_settings",
    "get_sync_cache_backend",
    "redis_lifespan",
]
