"""Runs a measured application on uvicorn."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from servers import LOOPBACK, free_port, wait_until

from .contenders import Contender
from .process import environment_at, python_at
from .scenarios import PRODUCT

SIZE = 500

_START_SECONDS = 60.0
_STOP_SECONDS = 5.0


@contextmanager
def uvicorn(contender: Contender, redis_url: str, *, workers: int = 1) -> Iterator[int]:
    """The port on which uvicorn serves a contender, with uvloop and httptools."""
    port = free_port()
    settings = {"BENCH_APP": contender.app, "BENCH_SIZE": str(SIZE)}
    command = (
        *(python_at(contender.place), "-m", "uvicorn", "--factory", "benchmarks.server:build"),
        *("--host", LOOPBACK, "--port", str(port), "--workers", str(workers)),
        *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "error"),
    )
    process = subprocess.Popen(
        command,
        env={**environment_at(contender.place, redis_url), **settings},
        start_new_session=True,
    )
    try:
        wait_until(
            lambda: process.poll() is not None or _answers(port),
            what=f"an answer of {contender.name}",
            seconds=_START_SECONDS,
        )
        yield port
    finally:
        _stop(process)


def _answers(port: int) -> bool:
    client = http.client.HTTPConnection(LOOPBACK, port)
    try:
        client.request("GET", PRODUCT.format(number=0))
        return client.getresponse().status == 200
    except OSError:
        return False
    finally:
        client.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    # its workers are in its group
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
