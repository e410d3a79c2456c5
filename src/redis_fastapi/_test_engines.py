"""Engines of a cache for tests: one that remembers, and one that does nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from ._engine import Bypass, Engine, Hit, Outcome, Stale
from ._entry import Entry
from ._http import Reason
from ._journal import Journal
from ._keys import Target
from ._leases import Lease
from ._store import Store
from ._targets import Evicted

_LONGEST_NAP_SECONDS = 0.001
"""What a pause between two attempts of the engine is cut down to."""


class RememberingEngine(Engine):
    """An engine that notes what passes."""

    def __init__(self, store: Store, journal: Journal, **options: Any) -> None:
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


class NoEngine(Engine):
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


async def nap(seconds: float) -> None:
    """A pause of the engine, cut down to what a test has time for."""
    await asyncio.sleep(min(seconds, _LONGEST_NAP_SECONDS))
