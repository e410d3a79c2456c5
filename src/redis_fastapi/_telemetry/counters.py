"""Counters per route, kept in the process from its own events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..telemetry import Answered, Event, Evicted


@dataclass(slots=True)
class RouteCounts:
    """What one route has done since counting began.

    Attributes:
        hits: Answers from the cache.
        local_hits: Those among them that came from the local tier.
        stale: Answers from the cache whose lifetime had ended.
        misses: Answers of the endpoint that were stored where they may be.
        bypasses: Answers of the endpoint without the cache, while Redis was away for example.
        reasons: How often a response was not stored, by reason.
        evictions: Evictions that it sent.
        unconfirmed: Those among them that Redis did not acknowledge at once.
        lookup_seconds: All lookups together.
        bytes: All bodies together.
    """

    hits: int = 0
    local_hits: int = 0
    stale: int = 0
    misses: int = 0
    bypasses: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    evictions: int = 0
    unconfirmed: int = 0
    lookup_seconds: float = 0.0
    bytes: int = 0

    @property
    def reads(self) -> int:
        """Responses of any kind."""
        return self.hits + self.stale + self.misses + self.bypasses

    @property
    def hit_ratio(self) -> float:
        """Share of the responses that came from the cache; 0 if there was none."""
        return (self.hits + self.stale) / self.reads if self.reads else 0.0

    def add(self, other: RouteCounts) -> None:
        """Add what another process counted for the same route."""
        for name in _NUMBERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.reasons.update(other.reasons)

    def as_json(self) -> dict[str, Any]:
        """The counts as plain data."""
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        return {**numbers, "reasons": dict(self.reasons)}


_NUMBERS = tuple(one.name for one in fields(RouteCounts) if one.name != "reasons")

_STATES = {"HIT": "hits", "STALE": "stale", "MISS": "misses", "BYPASS": "bypasses"}


class Counters(dict[str, RouteCounts]):
    """A listener that counts per route; a route without events has counts of zero."""

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, Answered):
            self._count_answer(event)
        elif isinstance(event, Evicted):
            counts = self.setdefault(event.route, RouteCounts())
            counts.evictions += 1
            counts.unconfirmed += not event.confirmed

    def _count_answer(self, event: Answered) -> None:
        counts = self.setdefault(event.route, RouteCounts())
        if (name := _STATES.get(event.state or "")) is not None:
            setattr(counts, name, getattr(counts, name) + 1)
        counts.local_hits += event.local
        if event.reason is not None:
            counts.reasons[event.reason] += 1
        counts.lookup_seconds += event.lookup_seconds
        counts.bytes += event.body_bytes

    def __missing__(self, route: str) -> RouteCounts:
        return RouteCounts()

    def as_json(self) -> dict[str, dict[str, Any]]:
        """The counts as plain data."""
        return {route: counts.as_json() for route, counts in self.items()}


def summed(published: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, RouteCounts]:
    """The sum of the counts of several processes, from their plain data."""
    total: dict[str, RouteCounts] = {}
    for counts in published:
        for route, numbers in counts.items():
            known = {name: numbers[name] for name in _NUMBERS if name in numbers}
            reasons = Counter(numbers.get("reasons", {}))
            total.setdefault(route, RouteCounts()).add(RouteCounts(**known, reasons=reasons))
    return total
