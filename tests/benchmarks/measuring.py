"""Measures contenders in turn over many rounds, so that noise affects all of them equally."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from .contenders import Contender
from .process import Worker
from .protocol import Clock, Order, Report
from .scenarios import SCENARIOS, Scenario

LEAST_ROUNDS = 3
"""Quartiles say nothing of fewer."""

LANES = (1, 32)

STRAYS_ALLOWED = 0.01
"""Share of requests that may be answered otherwise than their scenario says."""

Workers = Mapping[str, Worker]
"""By the names of their contenders."""


@contextmanager
def workers_for(contenders: Sequence[Contender], redis_url: str) -> Iterator[Workers]:
    """A worker for each contender: one application a process, as it would be served."""
    with ExitStack() as stack:
        yield {
            one.name: stack.enter_context(Worker(one.place, redis_url=redis_url))
            for one in contenders
        }


class Row(NamedTuple):
    """What a contender was asked."""

    scenario: str
    lanes: int
    contender: str


@dataclass(slots=True)
class Costs:
    """What requests cost in process.

    Attributes:
        reports: Of each row, one for each round.
    """

    reports: dict[Row, list[Report]] = field(default_factory=lambda: defaultdict(list))

    @property
    def rounds(self) -> int:
        """How many there were."""
        return max(map(len, self.reports.values()), default=0)

    def of(
        self, scenario: Scenario, lanes: int, contender: Contender, clock: Clock = "wall"
    ) -> list[float]:
        """Microseconds a request, a value for each round; empty where it was not measured."""
        reports = self.reports.get(Row(scenario.name, lanes, contender.name), ())
        return [report.microseconds(clock) for report in reports]

    def objections(self) -> Iterator[str]:
        """Rows that mean nothing, as too many of their answers were unexpected."""
        for row, reports in self.reports.items():
            requests = sum(report.requests for report in reports)
            strays = sum(report.strays for report in reports)
            if strays > STRAYS_ALLOWED * requests:
                yield (
                    f"{row.scenario}, {row.lanes} lanes, {row.contender}: {strays} of {requests} "
                    "requests were not answered as this scenario expects"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much to measure in process.

    Attributes:
        contenders: Who takes part.
        seconds: After which no further round begins.
        scenarios: What is asked.
        lanes: How many requests are under way at once, in turn.
        slice_seconds: For one measurement.
    """

    contenders: Sequence[Contender]
    seconds: float
    scenarios: Sequence[Scenario] = SCENARIOS
    lanes: Sequence[int] = LANES
    slice_seconds: float = 0.08

    def measure(self, workers: Workers, flush: Callable[[], object]) -> Costs:
        """Measure all rows in rounds, each time on an empty Redis."""
        costs = Costs()
        until = time.monotonic() + self.seconds
        number = 0
        while number < LEAST_ROUNDS or time.monotonic() < until:
            for scenario, lanes, contender in self._turns(backwards=number % 2 == 1):
                flush()
                order = Order(
                    contender=contender.name,
                    scenario=scenario.name,
                    lanes=lanes,
                    seconds=self.slice_seconds,
                )
                report = workers[contender.name].carry_out(order)
                costs.reports[Row(scenario.name, lanes, contender.name)].append(report)
            number += 1
        return costs

    def _turns(self, *, backwards: bool) -> Iterator[tuple[Scenario, int, Contender]]:
        """The turns of one round; who comes first in one round comes last in the next.

        They are short, and those that a goal compares are close to each other: a machine may
        change its pace from one second to the next.
        """
        for lanes in self.lanes:
            for scenario in self.scenarios[:: -1 if backwards else 1]:
                taking_part = [one for one in scenario.contenders if one in self.contenders]
                for contender in taking_part[:: -1 if backwards else 1]:
                    yield scenario, lanes, contender
