"""The parent's side of a worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from .protocol import Order, Report

TESTS = Path(__file__).resolve().parents[1]


class WorkerError(Exception):
    """A worker ended before its report; what it had to say is on stderr."""


class Worker:
    """A worker process; `python` is the interpreter of another library, None is this one."""

    def __init__(self, *, redis_url: str, python: str | None = None) -> None:
        paths = [str(TESTS)]
        if python is None:
            # what the peers must not see: our package may stand there, under the same name
            paths += [path for path in sys.path if path]
        self._python = python or sys.executable
        self._process = subprocess.Popen(
            [self._python, "-m", "benchmarks.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **_settings(redis_url), "PYTHONPATH": os.pathsep.join(paths)},
        )
        self.versions: dict[str, str] = json.loads(self._next_line())

    def carry_out(self, order: Order) -> Report:
        """Wait for the report on one order; raises WorkerError."""
        assert self._process.stdin is not None
        self._process.stdin.write(order.line())
        self._process.stdin.flush()
        return Report(**json.loads(self._next_line()))

    def _next_line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"a worker of {self._python} ended with {self._process.wait()}")
        return line

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


def _settings(redis_url: str) -> dict[str, str]:
    # a busy machine may answer too late, and going without Redis is not what is measured
    return {"REDIS_URL": redis_url, "REDIS_DEADLINE": "10"}
