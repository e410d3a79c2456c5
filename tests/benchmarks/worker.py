"""Measures in the environment of one library: reads orders on stdin, writes reports to stdout.

    python -m benchmarks.worker

The first line of its output names the versions in use.
"""

from __future__ import annotations

import asyncio
import cProfile
import io
import itertools
import json
import platform
import pstats
import sys
import time
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version

from benchmarks.contenders import Contender, contender_named
from benchmarks.driver import Answer, Request, Server, TimedBody, serving
from benchmarks.loops import runner
from benchmarks.protocol import Order, Report
from benchmarks.scenarios import PRODUCT, Requests, Scenario, scenario_named

PACKAGES = (
    "fastapi-redis-annotated",
    "fastapi-redis-sdk",
    "cashews",
    "fastapi-cache2",
    "fastapi",
    "starlette",
    "pydantic",
    "redis",
    "hiredis",
    "uvloop",
)
PROFILE_LINES = 45

_WARM_UP_SECONDS = 0.02
"""Of each measurement, before it counts."""


class Bench:
    """The applications of one environment, started when first asked for."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._servers: dict[tuple[object, ...], Server] = {}
        self._number = itertools.count(1_000).__next__

    async def carry_out(self, order: Order) -> Report:
        """Measure what the order says."""
        scenario = scenario_named(order.scenario)
        contender = contender_named(order.contender)
        server = await self._server(contender, {"size": scenario.size} | order.shape)
        lanes = await asyncio.gather(
            *(self._lane(server, scenario, number) for number in range(order.lanes))
        )
        run = _Run(server, scenario, contender, order)
        report = await run.profiled(lanes) if order.profile else await run.timed(lanes)
        if contender.states and not order.profile:
            await _check_afterwards(server, scenario, contender)
        return report

    async def _server(self, contender: Contender, shape: dict[str, int]) -> Server:
        name = (contender.app, *shape.items())
        if name not in self._servers:
            built = contender.build(**shape)
            self._servers[name] = await self._stack.enter_async_context(serving(built))
        return self._servers[name]

    async def _lane(self, server: Server, scenario: Scenario, number: int) -> Requests:
        """What a lane sends, once the entry that it needs is there."""
        if scenario.fresh and number:
            return scenario.requests(number, None, self._number)
        answer = await server.send(_get(number))
        return scenario.requests(number, answer.header(b"etag"), self._number)


def _get(number: int) -> Request:
    return Request("GET", PRODUCT.format(number=number))


async def _check_afterwards(server: Server, scenario: Scenario, contender: Contender) -> None:
    state = (await server.send(_get(0))).header(contender.header)
    if state != contender.states[scenario.afterwards]:
        sys.exit(f"after {scenario.name!r} {contender.name} says {state!r} to a GET")


class _Run:
    """One measurement: lanes that send one request after the other."""

    def __init__(
        self, server: Server, scenario: Scenario, contender: Contender, order: Order
    ) -> None:
        self._server = server
        self._order = order
        self._until_answered = scenario.until_answered
        self._expected = scenario.status if contender.states else 200
        state = contender.states.get(scenario.state) if scenario.state else None
        self._state = None if state is None else (contender.header, state)
        self._requests = 0
        self._strays = 0

    async def timed(self, lanes: list[Requests]) -> Report:
        # fills end, and what others left in the processor's caches is replaced
        await self._send_for(_WARM_UP_SECONDS, lanes)
        self._requests = self._strays = 0
        computed = time.process_time()
        wall_seconds = await self._send_for(self._order.seconds, lanes)
        return Report(
            requests=self._requests,
            wall_seconds=wall_seconds,
            cpu_seconds=time.process_time() - computed,
            strays=self._strays,
        )

    async def _send_for(self, seconds: float, lanes: list[Requests]) -> float:
        """Send for so long, at least one request a lane; the seconds that count of it."""
        started = time.perf_counter()
        if self._until_answered:
            return await self._volleys(lanes, started + seconds)
        await asyncio.gather(*(self._lane(lane, started + seconds) for lane in lanes))
        return time.perf_counter() - started

    async def _lane(self, next_request: Requests, until: float) -> None:
        while True:
            self._count(await self._server.send(next_request()))
            if time.perf_counter() >= until:
                return

    async def _volleys(self, lanes: list[Requests], until: float) -> float:
        """One request of each lane at once, and the next when the application is done with all."""
        waited = 0.0
        while True:
            bodies = [TimedBody() for _ in lanes]
            started = time.perf_counter()
            answers = await asyncio.gather(
                *(self._server.send(lane(), body) for lane, body in zip(lanes, bodies, strict=True))
            )
            waited += max(body.arrived for body in bodies) - started
            for answer in answers:
                self._count(answer)
            if time.perf_counter() >= until:
                return waited

    def _count(self, answer: Answer) -> None:
        self._requests += 1
        as_expected = answer.status == self._expected and (
            self._state is None or self._state in answer.headers
        )
        self._strays += not as_expected

    async def profiled(self, lanes: list[Requests]) -> Report:
        profiler = cProfile.Profile()
        profiler.enable()
        report = await self.timed(lanes)
        profiler.disable()
        text = io.StringIO()
        text.write(f"{report.requests} requests\n")
        statistics = pstats.Stats(profiler, stream=text)
        statistics.sort_stats("tottime").print_stats(PROFILE_LINES)
        return replace(report, profile=text.getvalue())


def versions() -> dict[str, str]:
    """Python and the packages that matter here."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _say(line: str) -> None:
    sys.stdout.write(line)
    sys.stdout.flush()


async def work() -> None:
    """Carry out orders until stdin ends."""
    _say(json.dumps(versions()) + "\n")
    async with AsyncExitStack() as stack:
        bench = Bench(stack)
        # in a thread, so that what the libraries do in the background goes on
        while line := await asyncio.to_thread(sys.stdin.readline):
            report = await bench.carry_out(Order(**json.loads(line)))
            _say(report.line())


if __name__ == "__main__":
    runner()(work())
