"""Evictions that Redis has not acknowledged, kept until it does.

- Each name is kept once, however often it was evicted.
- Beyond the bound the whole cache is evicted instead, so that no eviction is forgotten.
- A name that is evicted again while it is being sent is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .._redis.keys import EPOCH, Target

_MOST_NAMES = 1_000


class Owed(NamedTuple):
    """What has to be evicted before entries are used.

    Attributes:
        entries: Digests of entries.
        generations: Names of generations.
        number: Sequence number of the last eviction kept.
    """

    entries: tuple[str, ...]
    generations: tuple[str, ...]
    number: int


class Backlog:
    """The evictions that one engine owes.

    Args:
        most: Names kept at most.
    """

    def __init__(self, most: int = _MOST_NAMES) -> None:
        self._most = most
        self._entries: dict[str, int] = {}
        self._generations: dict[str, int] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._entries) + len(self._generations)

    def keep(self, entries: Iterable[str], generations: Iterable[str]) -> None:
        """Owe an eviction of these names."""
        self._number += 1
        if EPOCH in self._generations:
            generations, entries = (EPOCH,), ()
        self._entries.update(dict.fromkeys(entries, self._number))
        self._generations.update(dict.fromkeys(generations, self._number))
        if len(self) > self._most or EPOCH in self._generations:
            self._entries, self._generations = {}, {EPOCH: self._number}

    def concerns(self, target: Target) -> bool:
        """Whether an owed eviction affects this target."""
        entries, generations = self._entries, self._generations
        if not entries and not generations:
            return False
        return target.entry in entries or any(n in generations for n in target.generations)

    def owed(self) -> Owed:
        """What has to be sent."""
        return Owed(tuple(self._entries), tuple(self._generations), self._number)

    def settle(self, sent: Owed) -> None:
        """Drop what Redis has acknowledged; evictions kept since then stay."""
        for names, acknowledged in (
            (self._entries, sent.entries),
            (self._generations, sent.generations),
        ):
            for name in acknowledged:
                if names.get(name, sent.number + 1) <= sent.number:
                    del names[name]
