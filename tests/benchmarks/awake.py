"""Keeps the processors awake while little is measured that waits for them to wake up.

A request that waits for Redis lets its processor fall asleep, and on a virtual machine waking takes
as long as the request computes. A loop of idle priority on each processor prevents that, and gives
way to anything else at once (`sched(7)`, SCHED_IDLE). As a script, this module is the loop on the
processor whose number it is given.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

POSSIBLE = hasattr(os, "SCHED_IDLE")
"""Linux has it."""


@contextmanager
def processors_awake() -> Iterator[None]:
    """No processor sleeps meanwhile, where that can be had."""
    numbers = sorted(os.sched_getaffinity(0)) if POSSIBLE else []
    loops = [subprocess.Popen([sys.executable, __file__, str(number)]) for number in numbers]
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
