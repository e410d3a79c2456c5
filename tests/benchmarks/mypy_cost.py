"""Measures the mypy plugin on a generated project: ``python tests/benchmarks/mypy_cost.py``.

Each cell is the best of several runs, in seconds of CPU time, which depends less on the machine's
load than elapsed time. "Cold" runs with a cache of the installed packages, but not of the project;
"warm" runs with both.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).parents[2] / "src"

HEAD = """
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel
from redis_fastapi import Cached, CacheEvict, CachePut, CacheRoute

router = APIRouter(route_class=CacheRoute)


class Product{module}(BaseModel):
    id: int
    name: str


def database() -> int:
    return 1


DatabaseDep = Annotated[int, Depends(database)]
"""

MARKED = (
    '{model}, Cached(ttl=300, group=("{model}", "{model}:{{product_id}}"))',
    "{model}, CachePut(ttl=300)",
    '{model}, CacheEvict(group="{model}"), CacheEvict(group="{model}:{{product_id}}")',
)

ENDPOINT = """

@router.{verb}("/m{module}/products{number}/{{product_id}}")
async def {verb}_{number}(product_id: int, db: DatabaseDep) -> {returns}:
    number = product_id + db
    return {model}(id=number, name=str(number))
"""


class Cost(NamedTuple):
    """One run: seconds of processor time and peak memory in MB."""

    seconds: float
    megabytes: float


def generate(root: Path, *, modules: int, endpoints: int, marked: bool) -> None:
    """Write a project; a third of its endpoints are GETs, each with a put and an eviction."""
    for module in range(modules):
        model = f"Product{module}"
        parts = [HEAD.format(module=module)]
        for number in range(endpoints):
            verb = ("get", "put", "delete")[number % 3]
            returns = f"Annotated[{MARKED[number % 3].format(model=model)}]" if marked else model
            parts.append(
                ENDPOINT.format(
                    verb=verb, module=module, number=number // 3, returns=returns, model=model
                )
            )
        (root / f"m{module:03}.py").write_text("".join(parts))


def configure(root: Path, *, plugin: bool) -> None:
    """Write the configuration."""
    plugins = "plugins = redis_fastapi.mypy\n" if plugin else ""
    (root / "mypy.ini").write_text(f"[mypy]\nstrict = True\n{plugins}")


def run(root: Path, cache: Path, files: list[str], flags: list[str]) -> Cost:
    """Run mypy once; it must find nothing."""
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(cache), *flags, *files]
    environment = {**os.environ, "PYTHONPATH": str(SOURCES), "MYPYPATH": str(SOURCES)}
    process = subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True
    )
    output = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"mypy said:\n{output[-2000:]}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def measure(root: Path, *, plugin: bool, repetitions: int, flags: list[str]) -> tuple[Cost, Cost]:
    """Cold and warm, with the installed packages known in both."""
    configure(root, plugin=plugin)
    seed, cache = root / "seed", root / "cache"
    files = sorted(path.name for path in root.glob("m*.py"))
    (root / "warm_up.py").write_text(HEAD.format(module=0))
    shutil.rmtree(seed, ignore_errors=True)
    run(root, seed, ["warm_up.py"], flags)
    cold, warm = [], []
    for _ in range(repetitions):
        shutil.rmtree(cache, ignore_errors=True)
        shutil.copytree(seed, cache)
        cold.append(run(root, cache, files, flags))
        warm.append(run(root, cache, files, flags))
    return min(cold), min(warm)


def rows(arguments: argparse.Namespace) -> Iterator[str]:
    """The table."""
    yield "| Endpoints | Plugin | Cold | Warm | Peak memory, cold |"
    yield "| --- | --- | --- | --- | --- |"
    flags = arguments.flags.split()
    for marked in (False, True):
        for plugin in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder)
                endpoints = arguments.endpoints // arguments.modules
                generate(root, modules=arguments.modules, endpoints=endpoints, marked=marked)
                cold, warm = measure(
                    root, plugin=plugin, repetitions=arguments.repetitions, flags=flags
                )
            count = endpoints * arguments.modules
            yield (
                f"| {count} {'marked' if marked else 'plain'} | {'yes' if plugin else 'no'} "
                f"| {cold.seconds:.2f} s | {warm.seconds:.2f} s | {cold.megabytes:.0f} MB |"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--modules", type=int, default=200)
    parser.add_argument("--endpoints", type=int, default=6000)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--flags", default="", help="options for mypy, in one string")
    for row in rows(parser.parse_args()):
        print(row, flush=True)


if __name__ == "__main__":
    main()
