"""Starts and controls worker processes, in the parent process."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from . import NO_HIREDIS
from .contenders import Place
from .protocol import Order, Report

TESTS = Path(__file__).resolve().parents[1]
ENVIRONMENTS = TESTS.parent / ".venvs"
"""Where ``make bench`` makes an environment for each library."""


class WorkerError(Exception):
    """A worker ended before its report; what it had to say is on stderr."""


def python_at(place: Place) -> str:
    """The interpreter of a place."""
    return str(ENVIRONMENTS / place.environment / "bin" / "python")


def environment_at(place: Place, redis_url: str) -> dict[str, str]:
    """Environment variables of a process at a place."""
    settings = {
        "REDIS_URL": redis_url,
        # a local tier would hear of every write under its prefix
        "REDIS_PREFIX": "-".join(map(str, place)),
        # a busy machine may answer too late, and going without Redis is not what is measured
        "REDIS_DEADLINE": "10",
        "PYTHONPATH": str(TESTS),
    }
    if place.local:
        settings["REDIS_LOCAL_CACHE"] = "true"
    if not place.hiredis:
        settings[NO_HIREDIS] = "yes"
    return {**os.environ, **settings}


def next_line(worker: subprocess.Popen[str]) -> str:
    """What a worker says next; WorkerError where it has ended instead."""
    assert worker.stdout is not None
    line = worker.stdout.readline()
    if not line:
        raise WorkerError(f"{worker.args!r} ended with {worker.wait()}")
    return line


class Worker:
    """A worker process at a place."""

    def __init__(self, place: Place, *, redis_url: str) -> None:
        self._process = subprocess.Popen(
            [python_at(place), "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment_at(place, redis_url),
        )
        self.versions: dict[str, str] = json.loads(next_line(self._process))

    def carry_out(self, order: Order) -> Report:
        """Wait for the report on one order; raises WorkerError."""
        assert self._process.stdin is not None
        self._process.stdin.write(order.line())
        self._process.stdin.flush()
        return Report(**json.loads(next_line(self._process)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate()
