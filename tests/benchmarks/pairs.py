"""How much longer an application takes than the plain one, where that is little.

    python -m benchmarks.pairs 'unmarked endpoint'

Three applications run in this process and are asked in turn, one request each: the named one, the
plain one, and a twin of the plain one. Two that are alike differ by as much as a microsecond, by
where their objects lie in memory; so the first is compared with the mean of the twins. Each has a
route class of its own, since code is specialized for the class it meets most, and by itself each
would meet one only. It prints one difference a block of requests; since the same code differs from
process to process, the benchmark starts several.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle, islice, permutations
from statistics import median

from fastapi import FastAPI
from fastapi.routing import APIRoute

from benchmarks.apps import plain
from benchmarks.contenders import HERE, Contender, contender_named
from benchmarks.driver import Request, Server, serving
from benchmarks.loops import runner
from benchmarks.process import environment_at, python_at
from benchmarks.scenarios import HIT

_PROCESSES = 5
_BLOCKS = 12
_ROUNDS = 300
"""Of one block; its median tells the machine's interruptions from what is measured."""

_UNCOUNTED = 100
"""Rounds, until all is warm."""

_ASKED_BEFORE = "/cached/products/0"
"""A path that one of the applications may cache; three requests make its route known."""


def differences(contender: Contender, redis_url: str) -> list[float]:
    """Microseconds, a value for each block of each process."""
    command = [python_at(HERE), "-m", "benchmarks.pairs", contender.name]
    environment = environment_at(HERE, redis_url)
    run = partial(subprocess.run, check=True, text=True, stdout=subprocess.PIPE)
    runs = [run(command, env=environment) for _ in range(_PROCESSES)]
    return [float(line) for one in runs for line in one.stdout.splitlines()]


async def _compare(contender: Contender) -> None:
    apps = contender.build(size=HIT.size), _plain(), _plain()
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving(app)) for app in apps]
        for _ in range(3):
            await servers[0].send(Request("GET", _ASKED_BEFORE))
        await _medians_us(servers, _UNCOUNTED)
        for _ in range(_BLOCKS):
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


def _plain() -> FastAPI:
    return plain.build(HIT.size, type("Route", (APIRoute,), {}))


if __name__ == "__main__":
    runner()(_compare(contender_named(sys.argv[1])))
