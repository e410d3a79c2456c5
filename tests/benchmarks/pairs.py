"""Measures small differences in time between two applications for the same request.

    python -m benchmarks.pairs 'unmarked endpoint' 'plain endpoint'

Both run in this process and serve one request each in turn, so that the machine's speed is the same
for both requests of a pair. Prints one difference per line, in microseconds.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time

from starlette.applications import Starlette

from benchmarks.contenders import HERE, Contender, contender_named
from benchmarks.driver import Request, Server, serving
from benchmarks.loops import runner
from benchmarks.process import environment_at, python_at
from benchmarks.scenarios import HIT

PAIRS = 20_000

_UNCOUNTED = 100
"""Pairs, until all is warm."""

_ASKED_BEFORE = "/cached/products/0"
"""A path that one of the applications may cache; three requests make its way known."""


def differences(more: Contender, less: Contender, redis_url: str) -> list[float]:
    """Microseconds, a value for each pair of requests."""
    command = [python_at(HERE), "-m", "benchmarks.pairs", more.name, less.name]
    environment = environment_at(HERE, redis_url)
    run = subprocess.run(command, env=environment, check=True, text=True, stdout=subprocess.PIPE)
    return [float(line) for line in run.stdout.splitlines()]


async def _compare(more: Contender, less: Contender) -> None:
    async with serving(_built(more)) as one, serving(_built(less)) as other:
        for _ in range(3):
            await one.send(Request("GET", _ASKED_BEFORE))
        for number in range(-_UNCOUNTED, PAIRS):
            # who comes first in one pair comes second in the next
            servers = (one, other) if number % 2 else (other, one)
            found = {server: await _took_us(server) for server in servers}
            if number >= 0:
                print(found[one] - found[other])


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
