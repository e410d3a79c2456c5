"""The engine of a cache for tests: it remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from ._engine import Engine, Outcome
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


async def nap(seconds: float) -> None:
    """A pause of the engine, cut down to what a test has time for."""
    await asyncio.sleep(min(seconds, _LONGEST_NAP_SECONDS))
