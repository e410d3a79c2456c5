"""The command line: `python tests/benchmarks --help`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from subprocess import SubprocessError

from redis.exceptions import RedisError

from servers import RedisServer, redis_server_available

from . import groups, load
from .awake import POSSIBLE, processors_awake
from .contenders import (
    BESIDE_CACHED,
    CONTENDERS,
    OURS,
    UNMARKED,
    Contender,
    contender_named,
)
from .goals import Found, verdicts
from .groups import evictions
from .growth import growths
from .imports import imports
from .load import rates
from .measuring import Plan, Workers, workers_for
from .page import charts, goals_table, sections, write_page
from .pairs import differences
from .process import WorkerError, python_at
from .protocol import Order
from .scenarios import HIT, MISS, SCENARIOS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = DOCS / "performance.md"
CHARTS = DOCS / "performance"

SECONDS = 300.0
QUICK_SECONDS = 15.0
PROFILE_SECONDS = 4.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when an answer was not as expected, 2 when nothing can be measured."""
    options = _parser().parse_args(arguments)
    contenders = [one for one in CONTENDERS if not _left_out(one, options)]
    trouble = redis_server_available() or _missing_environment(contenders)
    if trouble:
        print(trouble, file=sys.stderr)
        return 2
    try:
        if options.profile:
            return _profile(options)
        return _compare(contenders, quick=options.quick, write=not options.dry)
    except (OSError, WorkerError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tests/benchmarks",
        description="What a request costs, on a redis-server of its own, and what it is to cost.",
    )
    scenarios = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--quick", action="store_true", help="in process only, 15 seconds; no page")
    parser.add_argument("--alone", action="store_true", help="without the other libraries")
    parser.add_argument("--without", action="append", default=[], help="name of a contender")
    parser.add_argument("--dry", action="store_true", help="leave docs/performance.md as it is")
    parser.add_argument(
        "--profile", nargs="?", const=HIT.name, choices=scenarios, help="print a CPU profile"
    )
    names = [one.name for one in CONTENDERS]
    parser.add_argument("--of", choices=names, default=OURS[0].name, help="what to profile")
    parser.add_argument("--lanes", type=int, default=1, help="how to profile it")
    return parser


def _left_out(contender: Contender, options: argparse.Namespace) -> bool:
    return contender.name in options.without or (options.alone and contender.is_peer)


def _missing_environment(contenders: Sequence[Contender]) -> str | None:
    for contender in contenders:
        if not Path(python_at(contender.place)).exists():
            return (
                f"{contender.name} has no environment yet; `make bench` makes one, "
                "--alone measures without the other libraries"
            )
    return None


def _compare(contenders: Sequence[Contender], *, quick: bool, write: bool) -> int:
    started = time.monotonic()
    with RedisServer() as server:
        with workers_for(contenders, server.url) as workers:
            conditions = _conditions(server, workers)
            found = _measure_in_process(contenders, workers, server, quick=quick)
        if not quick:
            _measure_the_rest(found, contenders, server.url)
    conditions += f"\n- {found.costs.rounds} rounds in process, "
    conditions += f"{time.monotonic() - started:.0f} seconds in all"
    parts = sections(found, conditions)
    print(*parts.values(), sep="\n\n")
    if write and not quick:
        _write(found, parts)
    print(goals_table(verdicts(found)), file=sys.stderr)
    objections = list(found.costs.objections())
    print(*objections, sep="\n", file=sys.stderr)
    return 1 if objections else 0


def _measure_in_process(
    contenders: Sequence[Contender], workers: Workers, server: RedisServer, *, quick: bool
) -> Found:
    seconds = QUICK_SECONDS if quick else SECONDS
    plan = Plan(contenders=contenders, seconds=seconds)
    asleep = replace(plan, seconds=seconds / 4, scenarios=(HIT, MISS), lanes=(1,))
    flush = partial(server.command, "FLUSHALL")
    with processors_awake():
        costs = plan.measure(workers, flush)
    return Found(costs=costs, asleep=asleep.measure(workers, flush))


def _measure_the_rest(found: Found, contenders: Sequence[Contender], redis_url: str) -> None:
    served = [one for one in load.CONTENDERS if one in contenders]
    evicting = [one for one in groups.CONTENDERS if one in contenders]
    with _going_on("unmarked endpoints"):
        for unmarked in (UNMARKED, BESIDE_CACHED):
            found.unmarked[unmarked.name] = differences(unmarked, redis_url)
    with _going_on("uvicorn"):
        found.rates = rates(served, redis_url, rounds=7, seconds=1)
    with _going_on("evictions"):
        found.evictions = evictions(evicting)
    with _going_on("imports"):
        found.imports = imports(rounds=10)
    with _going_on("growth"):
        for grown in growths(contenders, rounds=5):
            found.grown.append(grown)


@contextmanager
def _going_on(what: str) -> Iterator[None]:
    """Say what could not be measured, and lose nothing of what was."""
    try:
        yield
    except (OSError, RedisError, SubprocessError, WorkerError, TimeoutError) as error:
        print(f"{what} not measured to the end: {error!r}", file=sys.stderr)


def _write(found: Found, parts: dict[str, str]) -> None:
    write_page(PAGE, parts)
    CHARTS.mkdir(exist_ok=True)
    for name, chart in charts(found).items():
        (CHARTS / name).write_text(chart)


def _conditions(server: RedisServer, workers: Workers) -> str:
    """What the numbers depend on."""
    of_environments = {
        contender_named(name).place.environment: worker.versions
        for name, worker in workers.items()
        if contender_named(name).place.hiredis
    }
    lines = [
        f"- {environment}: " + ", ".join(f"{name} {version}" for name, version in versions.items())
        for environment, versions in of_environments.items()
    ]
    redis_version = server.command("INFO", "server")["redis_version"]
    lines.append(f"- redis-server {redis_version}, {platform.platform()}, {os.cpu_count()} CPUs")
    if POSSIBLE:
        lines.append("- in process, a loop of idle priority keeps each processor awake")
    lines.append(f"- uvicorn loaded by {load.generator()}")
    lines.append(f"- load average before the run: {os.getloadavg()[0]:.1f}")
    lines.append("- each number is the median of the rounds, with the quartiles behind it")
    return "\n".join(lines)


def _profile(options: argparse.Namespace) -> int:
    contender = contender_named(options.of)
    order = Order(
        contender=contender.name,
        scenario=options.profile,
        lanes=options.lanes,
        seconds=PROFILE_SECONDS,
        profile=True,
    )
    with RedisServer() as server, workers_for([contender], server.url) as workers:
        print(workers[contender.name].carry_out(order).profile)
    return 0
