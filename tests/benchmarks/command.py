"""The command: `python tests/benchmarks --help`."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import get_args

from servers import RedisServer, redis_server_available

from .contenders import CONTENDERS, OURS, Contender
from .measuring import Plan, Results
from .process import Worker, WorkerError
from .protocol import Clock, Order
from .scenarios import HIT, SCENARIOS
from .table import objections, table

LANES = (1, 32)
SECONDS = 85.0
QUICK_SECONDS = 15.0
PROFILE_SECONDS = 4.0

Workers = dict[str | None, Worker]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 when a HIT is slower than a peer's, 2 when nothing can be measured."""
    options = _parser().parse_args(arguments)
    contenders = [one for one in CONTENDERS if not (options.alone and one.is_peer)]
    trouble = redis_server_available() or _missing_peer(contenders)
    if trouble:
        print(trouble, file=sys.stderr)
        return 2
    try:
        if options.profile:
            return _profile(options.profile, options.app)
        seconds = QUICK_SECONDS if options.quick else SECONDS
        return _compare(
            Plan(contenders=contenders, lanes=LANES, seconds=seconds, clock=options.clock)
        )
    except (OSError, WorkerError) as error:
        print(error, file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python tests/benchmarks",
        description="What a request costs, in process, on a redis-server of its own.",
    )
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--quick", action="store_true", help="20 seconds instead of 90")
    parser.add_argument("--alone", action="store_true", help="without peers, so without a verdict")
    parser.add_argument(
        "--profile", nargs="?", const=HIT, choices=names, help="print a CPU profile instead"
    )
    parser.add_argument("--clock", choices=get_args(Clock), default="wall", help="what is measured")
    parser.add_argument("--app", choices=OURS, default=OURS[0], help="what to profile")
    return parser


def _missing_peer(contenders: Sequence[Contender]) -> str | None:
    for contender in contenders:
        if contender.python_variable and not os.environ.get(contender.python_variable):
            return (
                f"set {contender.python_variable} to the interpreter that has the library of "
                f"{contender.name!r}, as `make bench` does, or give --alone"
            )
    return None


@contextmanager
def _workers(server: RedisServer, contenders: Sequence[Contender]) -> Iterator[Workers]:
    """A worker for each environment."""
    with ExitStack() as stack:
        workers: Workers = {}
        for variable in dict.fromkeys(one.python_variable for one in contenders):
            python = os.environ[variable] if variable else None
            worker = Worker(redis_url=server.url, python=python)
            workers[variable] = stack.enter_context(worker)
        yield workers


def _compare(plan: Plan) -> int:
    with RedisServer() as server, _workers(server, plan.contenders) as workers:
        results = plan.measure(workers, lambda: server.command("FLUSHALL"))
        conditions = _conditions(server, workers)
        print(conditions, _duration(plan, results), "", table(plan, results), sep="\n")
    found = objections(plan, results)
    for objection in found:
        print(objection, file=sys.stderr)
    return 1 if found else 0


def _conditions(server: RedisServer, workers: Workers) -> str:
    """What the numbers depend on."""
    lines = [
        f"{'ours' if variable is None else variable}: "
        + ", ".join(f"{name} {version}" for name, version in worker.versions.items())
        for variable, worker in workers.items()
    ]
    redis_version = server.command("INFO", "server")["redis_version"]
    lines.append(f"redis-server {redis_version}, {platform.platform()}, {os.cpu_count()} CPUs")
    return "\n".join([f"`{_command_line(workers)}`", "", *(f"- {line}" for line in lines)])


def _duration(plan: Plan, results: Results) -> str:
    turns = f"{results.rounds} rounds of {plan.slice_seconds * 1e3:.0f} ms a turn"
    return f"- {turns}, {results.clock} time: median (quartiles) over the turns"


def _command_line(workers: Workers) -> str:
    given = [f"{name}={shlex.quote(os.environ[name])}" for name in workers if name]
    return " ".join([*given, "python tests/benchmarks", *sys.argv[1:]])


def _profile(scenario: str, app: str) -> int:
    contenders = [one for one in CONTENDERS if one.name == app]
    with RedisServer() as server, _workers(server, contenders) as workers:
        for contender in contenders:
            order = Order(
                app=contender.app,
                caches=contender.caches,
                scenario=scenario,
                lanes=1,
                seconds=PROFILE_SECONDS,
                profile=True,
            )
            print(workers[contender.python_variable].carry_out(order).profile)
    return 0
