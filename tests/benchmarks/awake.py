"""Keeps the processors awake while little is measured that waits for them to wake up.

A request that waits for Redis lets its processor fall asleep, and on a virtual machine waking takes
as long as the request computes. A loop of idle priority on each processor prevents that, and gives
way to anything else at once (`sched(7)`, SCHED_IDLE).

    python -m benchmarks.awake 0     loops on processor 0
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.contenders import HERE
from benchmarks.process import environment_at

POSSIBLE = hasattr(os, "SCHED_IDLE")
"""Linux has it."""


@contextmanager
def processors_awake() -> Iterator[None]:
    """No processor sleeps meanwhile, where that can be had."""
    numbers = sorted(os.sched_getaffinity(0)) if POSSIBLE else []
    command = [sys.executable, "-m", "benchmarks.awake"]
    environment = environment_at(HERE, "")
    loops = [subprocess.Popen([*command, str(number)], env=environment) for number in numbers]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _loop_on(processor: int) -> None:
    os.sched_setaffinity(0, {processor})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    while True:
        pass


if __name__ == "__main__":
    _loop_on(int(sys.argv[1]))
