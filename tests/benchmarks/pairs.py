"""What one application computes more than another for the same request, where that is little.

    python -m benchmarks.pairs 'unmarked endpoint' 'plain endpoint'

Both run in this process, in turns so short that the machine's pace is the same for two neighbours.
It prints one difference a line.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time

from starlette.applications import Starlette

from benchmarks.contenders import HERE, Contender, contender_named
from benchmarks.driver import Server, serving
from benchmarks.loops import runner
from benchmarks.process import environment_at, python_at
from benchmarks.scenarios import HIT

PAIRS = 1_000
TURN = 20
"""Requests."""


def differences(more: Contender, less: Contender, redis_url: str) -> list[float]:
    """Microseconds of computing a request, a value for each pair of turns."""
    command = [python_at(HERE), "-m", "benchmarks.pairs", more.name, less.name]
    environment = environment_at(HERE, redis_url)
    run = subprocess.run(command, env=environment, check=True, text=True, stdout=subprocess.PIPE)
    return [float(line) for line in run.stdout.splitlines()]


async def _compare(more: Contender, less: Contender) -> None:
    async with serving(_built(more)) as one, serving(_built(less)) as other:
        for number in range(-1, PAIRS):
            # who comes first in one pair comes second in the next
            servers = (one, other) if number % 2 else (other, one)
            found = {server: await _computing_us(server) for server in servers}
            if number >= 0:
                print(found[one] - found[other])


async def _computing_us(server: Server) -> float:
    request = HIT.request(0, None)
    started = time.process_time()
    for _ in range(TURN):
        await server.send(request)
    return (time.process_time() - started) / TURN * 1e6


def _built(contender: Contender) -> Starlette:
    app: Starlette = importlib.import_module(f"benchmarks.apps.{contender.app}").build(HIT.size)
    return app


if __name__ == "__main__":
    runner()(_compare(*map(contender_named, sys.argv[1:])))
