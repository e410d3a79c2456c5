"""The engine while caching is off: it never uses Redis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._http import Reason
from .._redis.entry import Entry
from .._redis.keys import Target
from .engine import Bypass, Engine, Hit, Outcome, Stale
from .leases import Lease


class NoEngine(Engine):
    """An engine for which nothing is ever there, and which keeps nothing."""

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
