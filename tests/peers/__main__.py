"""Ask every library, print the table, and run the pages' code for the others.

python -m peers            print
python -m peers --write    put the table into README.md
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.page import write_page
from documentation import README, ROOT, Block, blocks
from peers.probe import SIGNAL
from servers import RedisServer, wait_until

TESTS = Path(__file__).parents[1]
PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Library:
    """One column of the table.

    Attributes:
        name: Of the distribution.
        app: Module below `peers.apps`.
        environment: Directory below `.venvs`; empty is the environment that runs this.
    """

    name: str
    app: str
    environment: str = ""

    @property
    def python(self) -> str:
        """The interpreter that has it."""
        if not self.environment:
            return sys.executable
        return str(ROOT / ".venvs" / self.environment / "bin" / "python")


LIBRARIES = (
    Library("fastapi-redis-annotated", "annotated"),
    Library("fastapi-redis-sdk", "sdk", "sdk"),
    Library("fastapi-cache2", "fastapi_cache2", "fastapi-cache"),
    Library("cashews", "cashews", "cashews"),
)
ROWS = {
    "version": "Version",
    "stranger": "Without credentials, a members-only page in the cache is",
    "users": "Grace requests `/basket` after Ada did: the response is",
    "header": "A page is requested in German, then in French: the second response is",
    "keys": "`/files/a/b` and `/files/a:b` are",
    "race": "A GET reads, a write evicts, the GET finishes: the next GET gets",
    "burst": "20 requests to 2 processes for a missing entry run the endpoint",
    "eviction": "Evicting 1,000 entries takes",
    "validator": "A matching `If-None-Match` gets",
    "hung": "Redis hangs: a GET is answered within 2 s",
    "stopped": "Redis is stopped: a GET gets",
}


def asked(library: Library) -> dict[str, str]:
    """What a library does in every situation."""
    with RedisServer() as server:
        runs = burst(library, server)
        found: dict[str, str] = json.loads(output(started(library, server)))
    return {
        **found,
        "version": version_of(library),
        "burst": "once" if runs == 1 else f"{runs} times",
    }


def version_of(library: Library) -> str:
    """The version that is installed in its environment."""
    code = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"
    command = [library.python, "-c", code, library.name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def burst(library: Library, server: RedisServer) -> int:
    """How often its endpoint runs when several processes get the request at once."""
    processes = [started(library, server, "burst") for _ in range(PROCESSES)]
    ready = f"{SIGNAL}:ready"
    everyone = str(PROCESSES)
    wait_until(lambda: server.command("GET", ready) == everyone, what="the processes", seconds=60)
    server.command("LPUSH", SIGNAL, *["go"] * PROCESSES)
    return sum(int(output(process)) for process in processes)


def started(library: Library, server: RedisServer, *order: str) -> subprocess.Popen[str]:
    """A probe in the environment of a library."""
    paths = [str(TESTS), *([] if library.environment else [str(ROOT / "src")])]
    settings = {"REDIS_URL": server.url, "PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen(
        [library.python, "-W", "ignore", "-m", "peers.probe", library.app, *order],
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def output(process: subprocess.Popen[str]) -> str:
    """What it printed; raises CalledProcessError where it failed."""
    printed, _ = process.communicate(timeout=120)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return printed


def table(columns: dict[str, dict[str, str]]) -> str:
    """The comparison in Markdown."""
    head = ["", *columns]
    lines = [head, ["---"] * len(head)]
    lines += [[label, *(column[row] for column in columns.values())] for row, label in ROWS.items()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def run_block(block: Block, library: Library, server: RedisServer, directory: str) -> None:
    """Start the application of a page's block for another library, and send it a request."""
    path = Path(directory) / "before.py"
    path.write_text(block.source.replace("redis://localhost", server.url))
    output(started(library, server, "run", str(path)))


def main(arguments: list[str]) -> None:
    """Print or write the table."""
    columns = {library.name: asked(library) for library in LIBRARIES}
    for block in filter(lambda block: block.is_before, blocks(ROOT / "docs" / "migrating.md")):
        (library,) = (one for one in LIBRARIES if block.title == f"before: {one.name}")
        with RedisServer() as server, TemporaryDirectory() as directory:
            run_block(block, library, server, directory)
        print(f"{block} runs on {library.name}")
    print(table(columns))
    if "--write" in arguments:
        write_page(README, {"compared": table(columns)})


if __name__ == "__main__":
    main(sys.argv[1:])
