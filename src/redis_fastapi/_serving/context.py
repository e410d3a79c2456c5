"""What one request needs from its application to use the cache."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from .. import _http
from .._engine.engine import Engine
from .._http import Reason
from .._routes.targets import Evicted, Sites
from ..settings import RedisSettings
from ..telemetry import Telemetry
from .head_cache import HeadCache
from .refresh import Refreshes

logger = logging.getLogger("redis_fastapi")


@dataclass(slots=True)
class OnceLog:
    """Logs each warning once per route."""

    once: set[tuple[str, str]] = field(default_factory=set)

    def warn(self, route: str, message: str, key: str, error: Exception | None = None) -> None:
        """Log a warning, with the error's traceback, unless it was logged for this route before."""
        if (route, key) in self.once:
            return
        self.once.add((route, key))
        logger.warning("%s: %s", route, message, exc_info=error, extra={"route": route})


@dataclass(frozen=True, slots=True)
class Context:
    """The engine that serves a request, and its surroundings.

    Attributes:
        engine: On the application's client, or on one from a dependency override.
        settings: Of the application.
        sites: Where resources are looked up.
        once_log: Warnings logged so far.
        refreshes: The background runs that recompute stale entries.
        eager: Whether a fill must finish before the handler returns, because its client may be
            closed afterwards.
        telemetry: The listeners to this request; None if there are none.
        heads: Memoized results derived from response heads.
    """

    engine: Engine
    settings: RedisSettings
    sites: Sites
    once_log: OnceLog
    refreshes: Refreshes
    eager: bool = False
    telemetry: Telemetry | None = None
    heads: HeadCache = field(default_factory=HeadCache)

    def now_ms(self) -> int:
        """The engine's clock, in milliseconds since 1970."""
        return self.engine.now_ms()

    def ttl_ms(self, ttl: int | None, *, jitter: float = 0.0) -> int | None:
        """A lifetime in milliseconds, shortened by up to the fraction `jitter`; None is no expiry.

        Args:
            ttl: Seconds; 0 means no expiry, None the configured default.
            jitter: From 0 to below 1.
        """
        seconds = self.settings.default_ttl if ttl is None else ttl
        if not seconds or not jitter:
            return seconds * 1000 or None
        return _http.jittered_ttl_ms(seconds * 1000, jitter=jitter, draw=self.engine.draw())

    def local(self, wanted: bool | None) -> bool:
        """Whether the process may keep an entry; the setting decides if the endpoint does not."""
        return self.settings.local_cache if wanted is None else wanted

    async def evict(self, names: Evicted) -> bool:
        """Evict; False if Redis did not confirm it, and the engine keeps it to send later."""
        hard = names.entries, names.generations
        soft = names.soft_entries, names.soft_generations
        evicted = await self.engine.evict(*hard) if any(hard) else True
        outdated = await self.engine.evict(*soft, soft=True) if any(soft) else True
        return evicted and outdated

    def warn_once(self, route: str, message: str, error: Exception) -> None:
        """Log the first error of a kind that the user's code raises on a route."""
        self.once_log.warn(route, f"{message}: {error!r}", message, error)

    def log_replaced_error(self, route: str, error: BaseException) -> None:
        """Log every error that the client does not see because a stale response was sent."""
        message = "%s failed, and a stale response was sent in place of the error"
        logger.error(message, route, exc_info=error, extra={"route": route})

    def not_stored(self, route: str, refusal: Reason) -> None:
        """Log, once per route and reason, why a response is not stored."""
        self.once_log.warn(route, f"not stored ({refusal.value})", refusal.value)
