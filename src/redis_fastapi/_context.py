"""What one request's passage through the cache needs from its application."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from . import _http
from ._engine import Engine
from ._head_cache import HeadCache
from ._http import Reason
from ._refresh import Refreshes
from ._targets import Evicted, Sites
from .settings import RedisSettings
from .telemetry import Telemetry

logger = logging.getLogger("redis_fastapi")


@dataclass(slots=True)
class OnceLog:
    """What was logged already: each thing is said once for a route."""

    once: set[tuple[str, str]] = field(default_factory=set)

    def warn(self, route: str, message: str, key: str, error: Exception | None = None) -> None:
        """Log a warning, with the error's traceback, unless this route said it before."""
        if (route, key) in self.once:
            return
        self.once.add((route, key))
        logger.warning("%s: %s", route, message, exc_info=error, extra={"route": route})


@dataclass(frozen=True, slots=True)
class Context:
    """The engine that serves this request, and how it is set.

    Attributes:
        engine: On the application's client, or on the one that an override gave.
        settings: Of the application.
        sites: Where resources are looked up.
        eager: Whether a fill has to end before the handler does, since its client may not outlive
            it.
        once_log: What was logged already.
        telemetry: Who hears of this request; None is nobody.
        refreshes: The runs in the background that compute anew what is stale.
        heads: What was found out of the heads of answers.
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
        """The engine's clock in milliseconds since the epoch."""
        return self.engine.now_ms()

    def ttl_ms(self, ttl: int | None, *, jitter: float = 0.0) -> int | None:
        """A lifetime in milliseconds, shortened by up to a fraction of it; None is no expiry."""
        seconds = self.settings.default_ttl if ttl is None else ttl
        if not seconds or not jitter:
            return seconds * 1000 or None
        return _http.jittered_ttl_ms(seconds * 1000, jitter=jitter, draw=self.engine.draw())

    def local(self, wanted: bool | None) -> bool:
        """Whether the process may keep an entry, where its endpoint wants that or says nothing."""
        return self.settings.local_cache if wanted is None else wanted

    async def evict(self, names: Evicted) -> bool:
        """Evict; False where Redis did not confirm it and the engine keeps it for later."""
        hard = names.entries, names.generations
        soft = names.soft_entries, names.soft_generations
        evicted = await self.engine.evict(*hard) if any(hard) else True
        outdated = await self.engine.evict(*soft, soft=True) if any(soft) else True
        return evicted and outdated

    def warn_once(self, route: str, message: str, error: Exception) -> None:
        """Log a warning the first time the author's code troubles a route."""
        self.once_log.warn(route, f"{message}: {error!r}", message, error)

    def answered_stale(self, route: str, error: BaseException) -> None:
        """Log, each time, an error of which the client hears nothing."""
        message = "%s failed, and a stale answer was sent in place of the error"
        logger.error(message, route, exc_info=error, extra={"route": route})

    def not_stored(self, route: str, refusal: Reason) -> None:
        """Log, once a route and reason, why an answer is not stored."""
        self.once_log.warn(route, f"not stored ({refusal.value})", refusal.value)
