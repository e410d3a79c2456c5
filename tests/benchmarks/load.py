"""Measures requests per second through uvicorn, over persistent connections."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from servers import LOOPBACK

from . import client
from .contenders import BARE, CASHEWS, DEPENDS, FASTAPI_CACHE, LOCAL, MARKERS, PLAIN, SDK, Contender
from .serving import uvicorn

CONNECTIONS = 32
CONTENDERS = (BARE, PLAIN, LOCAL, SDK, MARKERS, DEPENDS, CASHEWS, FASTAPI_CACHE)
"""Those whose rates are compared stand side by side."""

_SCRIPT = Path(__file__).with_name("load.lua")

Rates = dict[str, list[float]]
"""Requests a second of each contender, a value for each round."""


def rates(contenders: Sequence[Contender], redis_url: str, *, rounds: int, seconds: int) -> Rates:
    """Requests a second of each contender, in rounds."""
    found: Rates = defaultdict(list)
    with ExitStack() as stack:
        ports = {one.name: stack.enter_context(uvicorn(one, redis_url)) for one in contenders}
        for port in ports.values():
            rate(port, seconds=1)
        for number in range(rounds):
            for one in contenders[:: -1 if number % 2 else 1]:
                found[one.name].append(rate(ports[one.name], seconds=seconds))
    return found


def rate(port: int, *, seconds: int) -> float:
    """Requests a second that are answered on a port; raises OSError where one is not."""
    if not shutil.which("wrk"):
        return client.rate(port, connections=CONNECTIONS, seconds=seconds)
    command = ("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(_SCRIPT))
    arguments = (f"http://{LOOPBACK}:{port}", "--", str(CONNECTIONS))
    said = subprocess.run((*command, *arguments), check=True, text=True, capture_output=True).stdout
    answered, errors, took = map(float, said.splitlines()[-1].split())
    if errors:
        raise ConnectionError(said)
    return answered / took


def generator() -> str:
    """What makes the load, and how far that can be believed."""
    if not shutil.which("wrk"):
        return "a client in Python, which limits the rates: wrk is not installed"
    said = subprocess.run(["wrk", "-v"], text=True, capture_output=True).stdout
    version = re.search(r"wrk \S+", said)
    return version[0] if version else "wrk"
