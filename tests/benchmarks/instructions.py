"""How many machine instructions a request takes, until its application is done with it.

    PYTHONPATH=tests .venvs/ours/bin/python -m benchmarks.instructions HIT 'plain endpoint' markers

On a busy machine times vary by more than some differences that matter, and this number does not
vary. What the kernel and Redis execute is not counted. Needs valgrind (``apt-get install
valgrind``), under which all is some fifty times slower.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

from servers import RedisServer

from .contenders import HERE, Contender, contender_named
from .driver import serving
from .loops import runner
from .process import environment_at, python_at
from .scenarios import Scenario, scenario_named

_FEW, _MANY = 300, 1_300
"""The difference between two processes that send so many requests is without their start."""


def instructions(scenario: Scenario, contender: Contender, redis_url: str) -> float:
    """Instructions a request of one lane."""
    few = _counted(scenario, contender, redis_url, first=0, number=_FEW)
    many = _counted(scenario, contender, redis_url, first=_FEW, number=_MANY)
    return (many - few) / (_MANY - _FEW)


def _counted(
    scenario: Scenario, contender: Contender, redis_url: str, *, first: int, number: int
) -> int:
    tool = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
    module = (python_at(HERE), "-m", "benchmarks.instructions")
    ended = subprocess.run(
        (*tool, *module, "--send", scenario.name, contender.name, str(first), str(number)),
        env={**environment_at(contender.place, redis_url), "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Collected : (\d+)", ended.stderr)
    if ended.returncode or found is None:
        sys.exit(ended.stderr)
    return int(found[1])


async def _send(scenario: Scenario, contender: Contender, first: int, number: int) -> None:
    async with serving(contender.build(size=scenario.size)) as server:
        for place in range(first, first + number):
            await server.send(scenario.request(place if scenario.fresh else 0, None))


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--send"]:
        _, scenario, contender, first, number = arguments
        sent = (scenario_named(scenario), contender_named(contender), int(first), int(number))
        runner()(_send(*sent))
        return
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is missing: apt-get install valgrind")
    scenario, *contenders = arguments
    with RedisServer() as redis:
        for name in contenders:
            counted = instructions(scenario_named(scenario), contender_named(name), redis.url)
            print(f"{counted:12,.0f}  {scenario}: {name}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
