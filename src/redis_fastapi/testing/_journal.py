"""Records lookups and evictions, so that tests can check what an eviction has reached."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .._engine.engine import Engine, Outcome
from .._engine.leases import Lease
from .._redis.keys import EPOCH, Target
from .._redis.store import Store
from .._routes.targets import Evicted, evicted_resources

_LONGEST_PAUSE_SECONDS = 0.001


@dataclass(slots=True)
class Journal:
    """What was looked up, and what was evicted with Redis's confirmation."""

    seen: set[Target] = field(default_factory=set)
    entries: set[str] = field(default_factory=set)
    generations: set[str] = field(default_factory=set)

    def note(self, evicted: Evicted) -> None:
        """Remember an eviction that Redis confirmed."""
        self.entries.update(evicted.entries)
        self.generations.update(evicted.generations)

    def clear(self) -> None:
        """Forget the evictions, but not the lookups, whose entries still exist."""
        self.entries.clear()
        self.generations.clear()

    def covers(self, generations: Iterable[str]) -> bool:
        """Whether one of these, or everything, was evicted."""
        return not self.generations.isdisjoint((EPOCH, *generations))

    def covers_resource(self, resource: str) -> bool:
        """Whether every entry of a resource that was looked up is among what was evicted."""
        named = evicted_resources([resource])
        # a put also names the variants, next to its own entry, and that entry stays
        if self.covers(()) or not self.entries.isdisjoint(named.entries):
            return True
        there = [target for target in self.seen if _is_of(target, named)]
        return bool(there) and all(self.covers(target.generations) for target in there)

    def account(self) -> str:
        """What was evicted, in words."""
        names = sorted(self.generations)
        if EPOCH in names:
            return "Evicted was the whole cache."
        groups = [repr(name[4:]) for name in names if name.startswith("g:n:")]
        return f"Evicted were {len(self.entries)} paths and " + (
            f"the groups {', '.join(groups)}." if groups else "no group."
        )


def _is_of(target: Target, named: Evicted) -> bool:
    return target.entry in named.entries or not set(named.generations).isdisjoint(
        target.generations
    )


class JournalingEngine(Engine):
    """An engine that records lookups and evictions in a journal."""

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


async def short_sleep(seconds: float) -> None:
    """Sleep as the engine asks, but no longer than a test can wait."""
    await asyncio.sleep(min(seconds, _LONGEST_PAUSE_SECONDS))
