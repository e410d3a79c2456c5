"""Response caching for FastAPI on Redis, declared in the return type.

Names are imported at first use, so that the mypy plugin in this package costs a run of mypy no
import of FastAPI.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
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
    from .route import CacheRoute, InvalidatingRoute
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
    "InvalidatingRoute",
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

_NAMES: Final = {
    "backend": ("CacheBackend", "SyncCacheBackend"),
    "dependencies": (
        "AsyncRedisDep",
        "CacheBackendDep",
        "SyncCacheBackendDep",
        "cache",
        "cache_evict",
        "cache_put",
        "default_key_builder",
        "get_async_redis",
        "get_cache_backend",
        "get_sync_cache_backend",
    ),
    "exceptions": (
        "CacheDeclarationError",
        "CacheError",
        "CacheSettingsError",
        "CacheSetupError",
        "CacheUnavailableError",
    ),
    "markers": ("CacheEvict", "CachePut", "Cached"),
    "route": ("CacheRoute", "InvalidatingRoute"),
    "settings": ("RedisSettings", "get_settings"),
    "setup": ("FastAPIRedis", "redis_lifespan"),
}
"""The public names of each module."""

_HOMES: Final = {name: module for module, names in _NAMES.items() for name in names}

# a type checker that saw this function would accept every misspelt name
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name (PEP 562)."""
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
