"""The goals, each with the values measured for it in the same run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from .contenders import (
    BARE,
    BESIDE_CACHED,
    DEPENDS,
    GET,
    GUARDED,
    LOCAL,
    MARKERS,
    PLAIN,
    PLAIN_WITH_GETS,
    SDK,
    SIGNED_IN,
    SIGNED_IN_WITH_GET,
    STARLETTE,
    UNMARKED,
    Contender,
)
from .groups import Evictions
from .growth import Grown
from .imports import ALL, LAZY, NEEDED, Imports
from .load import Rates
from .measuring import Costs
from .scenarios import HIT, LARGE_HIT, MISS, NOT_MODIFIED, Scenario


@dataclass(slots=True, kw_only=True)
class Found:
    """All that one run measured.

    Attributes:
        costs: Of requests, in process, while the processors are kept awake.
        asleep: Of one request at a time, where they fall asleep while it waits.
        unmarked: Microseconds that unmarked endpoints take longer than a plain one, by their names.
        rates: Through uvicorn.
        evictions: Of large groups.
        imports: What an import costs.
        grown: How the cost of a hit grows.
    """

    costs: Costs
    asleep: Costs = field(default_factory=Costs)
    unmarked: dict[str, Sequence[float]] = field(default_factory=dict)
    rates: Rates = field(default_factory=dict)
    evictions: dict[str, Evictions] = field(default_factory=dict)
    imports: Imports = field(default_factory=dict)
    grown: list[Grown] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A goal and what became of it.

    Attributes:
        goal: What is compared.
        bound: What the median has to reach, or not to exceed.
        at_least: Whether more is better.
        unit: Of bound and values.
        values: One for each round; empty where it was not measured.
    """

    goal: str
    bound: float
    at_least: bool
    unit: str = "x"
    values: Sequence[float]

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where it was not measured."""
        if not self.values:
            return None
        middle = median(self.values)
        return middle >= self.bound if self.at_least else middle <= self.bound


def verdicts(found: Found) -> Iterator[Verdict]:
    """Every goal."""
    yield from _hits(found.costs)
    yield from _local_hits(found.costs)
    yield from _misses(found.costs)
    yield from _asleep(found.asleep)
    yield from _unmarked(found)
    yield from _served(found.rates)
    yield from _evicted(found.evictions)
    yield from _imported(found.imports)


def _hits(costs: Costs) -> Iterator[Verdict]:
    for lanes, bound in ((1, 3.0), (32, 7.0)):
        yield _faster(costs, HIT, lanes, SDK, MARKERS, bound)
    yield _faster(costs, HIT, 32, PLAIN, MARKERS, 1.0)
    for lanes in (1, 32):
        yield _faster(costs, HIT, lanes, SDK, DEPENDS, 2.0)
    yield from _signed_in(costs)


def _signed_in(costs: Costs) -> Iterator[Verdict]:
    """A sum of loops has not what waiting costs after other work, so the whole is measured, too."""
    hit, goal = costs.of(HIT, 1, GUARDED), "HIT behind a sign-in / its dependencies and a GET"
    alone = zip(costs.of(HIT, 1, SIGNED_IN), _round_trip(costs), strict=False)
    for how, both in (
        ("in one endpoint", costs.of(HIT, 1, SIGNED_IN_WITH_GET)),
        ("each alone", [dependencies + trip for dependencies, trip in alone]),
    ):
        yield Verdict(
            goal=f"{goal} of redis-py {how}, 1 lane",
            bound=1.25,
            at_least=False,
            values=_ratios(hit, both),
        )


def _local_hits(costs: Costs) -> Iterator[Verdict]:
    for scenario in (HIT, NOT_MODIFIED):
        yield _faster(costs, scenario, 1, SDK, LOCAL, 14.0)
        for least in (STARLETTE, BARE):
            yield Verdict(
                goal=f"{scenario.name}: {LOCAL.name} / {least.name}, 1 lane",
                bound=2.5,
                at_least=False,
                values=_ratios(costs.of(scenario, 1, LOCAL), costs.of(scenario, 1, least)),
            )
    yield Verdict(
        goal=f"{LOCAL.name}: HIT of 50 KB / HIT of 500 B, 1 lane",
        bound=1.3,
        at_least=False,
        values=_ratios(costs.of(LARGE_HIT, 1, LOCAL), costs.of(HIT, 1, LOCAL)),
    )


def _misses(costs: Costs) -> Iterator[Verdict]:
    miss, plain = costs.of(MISS, 1, MARKERS), costs.of(MISS, 1, PLAIN)
    with_gets = costs.of(MISS, 1, PLAIN_WITH_GETS)
    for how, trips in (
        ("from such an endpoint", [gets / 2 for gets in _differences(with_gets, plain)]),
        ("alone", _round_trip(costs)),
    ):
        yield Verdict(
            goal=f"MISS less the plain endpoint, in GETs of redis-py {how}, 1 lane",
            bound=2.5,
            at_least=False,
            values=_ratios(_differences(miss, plain), trips),
        )


def _asleep(costs: Costs) -> Iterator[Verdict]:
    for one in (next(_hits(costs)), next(_misses(costs))):
        yield replace(one, goal=f"{one.goal}, processors asleep meanwhile")


def _unmarked(found: Found) -> Iterator[Verdict]:
    for unmarked in (UNMARKED, BESIDE_CACHED):
        yield Verdict(
            goal=f"{unmarked.name} less the {PLAIN.name}",
            bound=1.0,
            at_least=False,
            unit=" µs",
            values=found.unmarked.get(unmarked.name, ()),
        )


def _round_trip(costs: Costs) -> list[float]:
    """What a GET of redis-py adds to the bare response."""
    return _differences(costs.of(HIT, 1, GET), costs.of(HIT, 1, BARE))


def _served(rates: Rates) -> Iterator[Verdict]:
    for ours, bound in ((MARKERS, 3.3), (LOCAL, 5.5)):
        yield Verdict(
            goal=f"uvicorn: requests/s of {ours.name} / {SDK.name}",
            bound=bound,
            at_least=True,
            values=_ratios(rates.get(ours.name, ()), rates.get(SDK.name, ())),
        )


def _evicted(found: dict[str, Evictions]) -> Iterator[Verdict]:
    ours = found.get(MARKERS.name, Evictions())
    for what, bound, values in (
        ("evicting 100,000 of 1,000,000 keys", 1.0, ours.calls),
        ("worst PING of another client meanwhile", 2.0, ours.pings),
    ):
        yield Verdict(goal=what, bound=bound, at_least=False, unit=" ms", values=values)


def _imported(found: Imports) -> Iterator[Verdict]:
    for more in (LAZY, ALL):
        yield Verdict(
            goal=f"importing {NEEDED} {more} / without",
            bound=1.15,
            at_least=False,
            values=_ratios(found.get(more, ()), found.get(NEEDED, ())),
        )


def _faster(
    costs: Costs, scenario: Scenario, lanes: int, slow: Contender, fast: Contender, bound: float
) -> Verdict:
    return Verdict(
        goal=f"{scenario.name}: {slow.name} / {fast.name}, {_lanes(lanes)}",
        bound=bound,
        at_least=True,
        values=_ratios(costs.of(scenario, lanes, slow), costs.of(scenario, lanes, fast)),
    )


def _lanes(number: int) -> str:
    return "1 lane" if number == 1 else f"{number} lanes"


def _ratios(dividends: Sequence[float], divisors: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(dividends, divisors, strict=False)]


def _differences(minuends: Sequence[float], subtrahends: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(minuends, subtrahends, strict=False)]
