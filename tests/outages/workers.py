"""Four uvicorn workers on one port, ended by the test that started them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from servers import LOOPBACK, free_port, wait_until

TESTS = Path(__file__).parents[1]
WORKERS = 4
START_SECONDS = 60.0


@contextmanager
def workers(directory: Path, **settings: str) -> Iterator[str]:
    """The URL of the application, once all workers respond; `settings` are its environment."""
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
    command = [sys.executable, "-m", "uvicorn", "outages.app:app", "--host", LOOPBACK]
    options = ["--port", str(port), "--workers", str(WORKERS), "--log-level", "warning"]
    environment = os.environ | settings | {"PYTHONPATH": paths, "OUTAGES_DIR": str(directory)}
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            command + options, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            # A connection of its own for each request: any worker may accept it.
            limits = httpx.Limits(max_keepalive_connections=0)
            with httpx.Client(base_url=url, limits=limits, timeout=5.0) as client:
                _await_all(client)
            yield url
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def _await_all(client: httpx.Client) -> None:
    """Sends requests until each worker has responded."""
    seen: set[int] = set()

    def all_answered() -> bool:
        try:
            seen.add(int(client.get("/worker").text))
        except httpx.TransportError:
            return False
        return len(seen) == WORKERS

    wait_until(all_answered, what=f"{WORKERS} workers at {client.base_url}", seconds=START_SECONDS)
