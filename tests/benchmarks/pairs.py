"""How much longer one application takes than another for the same request, where that is little.

    python -m benchmarks.pairs 'unmarked endpoint' 'plain endpoint'

Three applications run in this process and are asked in turn, one request each: the first, the
second, and a twin of the second. Two that are alike differ by as much as a microsecond, by where
their objects lie in memory; so the first is compared with the mean of the twins. It prints one
difference a block of requests.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import cycle, islice, permutations
from statistics import median

from starlette.applications import Starlette

from benchmarks.contenders import HERE, Contender, contender_named
from benchmarks.driver import Request, Server, serving
from benchmarks.loops import runner
from benchmarks.process import environment_at, python_at
from benchmarks.scenarios import HIT

BLOCKS = 60
_ROUNDS = 300
"""Of one block; its median tells the machine's interruptions from what is measured."""

_UNCOUNTED = 100
"""Rounds, until all is warm."""

_ASKED_BEFORE = "/cached/products/0"
"""A path that one of the applications may cache; three requests make its way known."""


def differences(more: Contender, less: Contender, redis_url: str) -> list[float]:
    """Microseconds, a value for each block."""
    command = [python_at(HERE), "-m", "benchmarks.pairs", more.name, less.name]
    environment = environment_at(HERE, redis_url)
    run = subprocess.run(command, env=environment, check=True, text=True, stdout=subprocess.PIPE)
    return [float(line) for line in run.stdout.splitlines()]


async def _compare(more: Contender, less: Contender) -> None:
    async with AsyncExitStack() as stack:
        servers = [
            await stack.enter_async_context(serving(_built(one))) for one in (more, less, less)
        ]
        for _ in range(3):
            await servers[0].send(Request("GET", _ASKED_BEFORE))
        await _medians_us(servers, _UNCOUNTED)
        for _ in range(BLOCKS):
            one, other, twin = await _medians_us(servers, _ROUNDS)
            print(one - (other + twin) / 2)


async def _medians_us(servers: Sequence[Server], rounds: int) -> list[float]:
    """For each server the median of what its requests took, each place in the turn as often."""
    orders = cycle(permutations(range(len(servers))))
    taken: list[list[float]] = [[] for _ in servers]
    for order in islice(orders, rounds):
        for number in order:
            taken[number].append(await _took_us(servers[number]))
    return [median(each) for each in taken]


async def _took_us(server: Server) -> float:
    started = time.perf_counter()
    await server.send(_REQUEST)
    return (time.perf_counter() - started) * 1e6


_REQUEST = HIT.request(0, None)


def _built(contender: Contender) -> Starlette:
    app: Starlette = importlib.import_module(f"benchmarks.apps.{contender.app}").build(HIT.size)
    return app


if __name__ == "__main__":
    runner()(_compare(*map(contender_named, sys.argv[1:])))
