"""Evictions: sent until Redis acknowledges them, and owed until it does.

An eviction that is not acknowledged in time is kept (`backlog.py`) and sent in the background, and
in any case before this process uses an entry that it affects. A soft eviction that is not possible,
or not acknowledged, becomes a hard one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import chain, repeat

from redis.exceptions import ResponseError

from .._background import Background, cancel
from .._redis.changes import Changes
from .._redis.keys import Target
from .._redis.store import Store
from .._redis.tokens import SOFT_SIZE
from .._redis.transport import AwayError
from ..exceptions import CacheUnavailableError
from .backlog import Backlog
from .refusals import Operation, Refusals

logger = logging.getLogger("redis_fastapi")

_EVICT_SECONDS = 0.5
_EVICT_PAUSES_SECONDS = (0.02, 0.05, 0.1, 0.2)
_REPLAY_PAUSES_SECONDS = (0.1, 0.2, 0.5)
"""Between attempts to send what is owed; the last one repeats."""

_LOST = "evictions of %d names are lost with this process"


class Evictions:
    """The evictions of one engine."""

    def __init__(
        self,
        store: Store,
        background: Background,
        refusals: Refusals,
        changes: Changes,
        *,
        random: Callable[[int], bytes],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._store = store
        self._background = background
        self._refusals = refusals
        self._random = random
        self._changes = changes
        self._sleep = sleep
        self._backlog = Backlog()
        self._replay: asyncio.Task[None] | None = None
        self._replayer: asyncio.Task[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        """Names that are owed."""
        return len(self._backlog)

    async def evict(
        self, entries: tuple[str, ...], generations: tuple[str, ...], *, soft: bool = False
    ) -> bool:
        """Evict; returns whether Redis acknowledged within half a second. If not, it is owed."""
        acknowledged = await self._send(entries, generations, soft=soft)
        if not acknowledged:
            self._owe(entries, generations)
        self._changes.changed(*entries, *generations)
        return acknowledged

    async def _send(
        self, entries: tuple[str, ...], generations: tuple[str, ...], *, soft: bool
    ) -> bool:
        send = self._outdate if soft else self._store.evict
        loop = asyncio.get_running_loop()
        end = loop.time() + _EVICT_SECONDS
        for pause in _EVICT_PAUSES_SECONDS:
            try:
                await send(entries, generations, deadline=end - loop.time())
                self._refusals.granted(Operation.EVICTION)
                return True
            except AwayError:
                break
            except CacheUnavailableError as error:
                self._refusals.refused(Operation.EVICTION, error)
            if loop.time() + pause >= end:
                break
            await self._sleep(pause)
        return False

    async def _outdate(
        self, entries: tuple[str, ...], generations: tuple[str, ...], *, deadline: float
    ) -> None:
        # new bytes for each attempt: the previous one may only have been delayed
        renewal = self._random(SOFT_SIZE)
        try:
            outdated = await self._store.outdate(entries, generations, renewal, deadline=deadline)
        except CacheUnavailableError as error:
            # a server without memory left refuses to write over a part, and still deletes
            if not isinstance(error.__cause__, ResponseError):
                raise
            outdated = False
        if not outdated:
            await self._store.evict(entries, generations, deadline=deadline)

    def owe(self, target: Target) -> bool:
        """Whether an eviction that affects the target is owed."""
        return self._backlog.concerns(target)

    async def settle(self, target: Target, until: float | None) -> None:
        """Return once nothing that affects the target is owed.

        Raises:
            CacheUnavailableError: If that is not so by `until`, in the event loop's time.
        """
        if not self._backlog.concerns(target):
            return
        await self._replay_once(until)
        if self._backlog.concerns(target):
            raise CacheUnavailableError("an eviction is owed")

    async def close(self) -> None:
        """Try one last time to send what is owed."""
        if self._replayer is not None:
            await cancel(self._replayer)
        if self._backlog:
            await self._send_owed()
        self._closed = True
        if self._backlog:
            logger.error(_LOST, len(self._backlog))

    def _owe(self, entries: tuple[str, ...], generations: tuple[str, ...]) -> None:
        if self._closed:
            logger.error(_LOST, len(entries) + len(generations))
            return
        if not self._backlog:
            logger.error(
                "Redis did not confirm an eviction; it is kept and sent when Redis is back"
            )
        self._backlog.keep(entries, generations)
        if self._replayer is None and not self._background.closed:
            self._replayer = asyncio.get_running_loop().create_task(self._replay_in_time())

    async def _replay_in_time(self) -> None:
        """Send what is owed as soon as Redis accepts it, even without lookups."""
        for pause in chain(_REPLAY_PAUSES_SECONDS, repeat(_REPLAY_PAUSES_SECONDS[-1])):
            await asyncio.sleep(pause)
            if self._backlog:  # no lookup has sent it already
                await self._replay_once(None)
            if not self._backlog:
                break
        self._replayer = None

    async def _replay_once(self, until: float | None) -> None:
        """Send what is owed, once for all concurrent callers."""
        if self._replay is None or self._replay.done():
            self._replay = self._background.spawn(self._send_owed())
        left = None if until is None else until - asyncio.get_running_loop().time()
        await asyncio.wait((self._replay,), timeout=left)

    async def _send_owed(self) -> None:
        owed = self._backlog.owed()
        with suppress(CacheUnavailableError):
            await self._store.evict(owed.entries, owed.generations, deadline=_EVICT_SECONDS)
            self._backlog.settle(owed)
            self._changes.changed(*owed.entries, *owed.generations)
            number = len(owed.entries) + len(owed.generations)
            logger.warning("Redis confirmed the evictions that were kept for it: %d names", number)
