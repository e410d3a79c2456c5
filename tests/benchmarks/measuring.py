"""Rounds over all contenders in turn, so that the noise of the machine meets all of them alike."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

from .contenders import Contender
from .process import Worker
from .protocol import Clock, Order, Report
from .scenarios import SCENARIOS

LEAST_ROUNDS = 3
"""Quartiles say nothing of fewer."""


class Row(NamedTuple):
    """A row of the table."""

    scenario: str
    lanes: int


@dataclass(slots=True)
class Results:
    """What was measured.

    Attributes:
        clock: What the microseconds are of.
        rounds: How many there were.
        microseconds: Per request, of each row and contender, in the order measured.
        requests: How many there were, of each row and contender.
        strays: How many of them were answered otherwise than expected.
    """

    clock: Clock
    rounds: int = 0
    microseconds: dict[Row, dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    requests: dict[tuple[Row, str], int] = field(default_factory=lambda: defaultdict(int))
    strays: dict[tuple[Row, str], int] = field(default_factory=lambda: defaultdict(int))

    def add(self, row: Row, contender: str, report: Report) -> None:
        """Take in one measurement."""
        self.microseconds[row][contender].append(report.microseconds(self.clock))
        self.requests[row, contender] += report.requests
        self.strays[row, contender] += report.strays

    def ratios(self, row: Row, dividend: str, divisor: str) -> list[float]:
        """How many times the dividend's cost is the divisor's, turn by turn."""
        costs = self.microseconds[row]
        return [a / b for a, b in zip(costs[dividend], costs[divisor], strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much to measure.

    Attributes:
        contenders: The columns.
        lanes: The rows of each scenario.
        seconds: After which no further round begins.
        clock: Time that passed, or computing time, which a busy machine distorts less.
        slice_seconds: For one measurement.
    """

    contenders: Sequence[Contender]
    lanes: Sequence[int]
    seconds: float
    clock: Clock = "wall"
    slice_seconds: float = 0.06

    def _rows_of_a_round(self) -> Iterator[Row]:
        for scenario in SCENARIOS:
            for _ in range(scenario.turns):
                yield from (Row(scenario.name, lanes) for lanes in self.lanes)

    def measure(self, workers: dict[str | None, Worker], flush: Callable[[], object]) -> Results:
        """Measure all rows in rounds, each time on an empty Redis."""
        results = Results(self.clock)
        until = time.monotonic() + self.seconds
        while results.rounds < LEAST_ROUNDS or time.monotonic() < until:
            # who comes first in one round comes last in the next
            turns = self.contenders[:: -1 if results.rounds % 2 else 1]
            for row, contender in product(self._rows_of_a_round(), turns):
                flush()
                worker = workers[contender.python_variable]
                results.add(row, contender.name, worker.carry_out(self._order(contender, row)))
            results.rounds += 1
        return results

    def _order(self, contender: Contender, row: Row) -> Order:
        return Order(
            app=contender.app,
            caches=contender.caches,
            scenario=row.scenario,
            lanes=row.lanes,
            seconds=self.slice_seconds,
        )
