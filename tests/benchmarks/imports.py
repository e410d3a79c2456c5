"""Measures imports, in CPU time of a new interpreter."""

from __future__ import annotations

import resource
import subprocess
from collections import defaultdict

from .contenders import HERE
from .process import python_at

NEEDED = "fastapi and redis.asyncio"
LAZY = "and redis_fastapi (names come at first use)"
ALL = "and redis_fastapi with all its names"

_STATEMENTS = {
    NEEDED: "import fastapi, redis.asyncio",
    LAZY: "import fastapi, redis.asyncio, redis_fastapi",
    ALL: "import fastapi, redis.asyncio; from redis_fastapi import *",
}

Imports = dict[str, list[float]]
"""Milliseconds of each import, a value for each round."""


def imports(*, rounds: int) -> Imports:
    """Import in turn, in a process each."""
    found: Imports = defaultdict(list)
    for number in range(rounds + 1):
        for name, statement in _STATEMENTS.items():
            seconds = _computing_seconds(statement)
            if number:  # the first one writes the bytecode
                found[name].append(seconds * 1e3)
    return found


def _computing_seconds(statement: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([python_at(HERE), "-c", statement], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
