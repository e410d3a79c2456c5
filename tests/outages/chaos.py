"""Four workers under load while Redis fails: `make chaos`; 1 if a response was an error or stale.

Writers raise a number and let the endpoint evict, with `strict=True`: 200 says that the eviction is
confirmed, 503 that it is not (`unsure`, no error). A read that began after the 200 and returns less
is stale. Latencies are milliseconds inside the application, where the endpoint itself takes next to
none; the rows without trouble say what the machine adds.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx

from outages.topologies import FailingOver
from outages.workers import workers
from servers import LOOPBACK, RedisServer

ITEMS = 8
CLIENTS = 12
WRITES = 0.1
PAUSE_SECONDS = 0.05
"""Between two requests of a client: a machine that is never idle measures itself."""
UNCONFIRMED = 503


@dataclass(slots=True)
class Counts:
    """What the clients saw while one row lasted."""

    requests: int = 0
    errors: int = 0
    unconfirmed: int = 0
    stale: int = 0
    reads_ms: list[float] = field(default_factory=list)
    writes_ms: list[float] = field(default_factory=list)


class Load:
    """Clients that go on through all rows."""

    def __init__(self, url: str) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=60.0)
        self._truth = [0] * ITEMS
        self._told = [0] * ITEMS
        self._writing = [asyncio.Lock() for _ in range(ITEMS)]
        self.counts = Counts()

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await asyncio.gather(*(self._act() for _ in range(CLIENTS)))
        finally:
            await self._client.aclose()

    async def _act(self) -> None:
        while True:
            item = random.randrange(ITEMS)
            if random.random() < WRITES:
                async with self._writing[item]:
                    await self._write(item)
            else:
                await self._read(item)
            await asyncio.sleep(2 * PAUSE_SECONDS * random.random())

    async def _read(self, item: int) -> None:
        counts, told = self.counts, self._told[item]
        answer = await self._client.get(f"/items/{item}")
        counts.requests += 1
        counts.reads_ms.append(float(answer.headers.get("x-ms", "0")))
        if answer.status_code != 200:
            counts.errors += 1
        elif answer.json() < told:
            counts.stale += 1

    async def _write(self, item: int) -> None:
        self._truth[item] += 1
        value, counts = self._truth[item], self.counts
        answer = await self._client.put(f"/items/{item}", params={"value": value})
        counts.requests += 1
        counts.writes_ms.append(float(answer.headers.get("x-ms", "0")))
        if answer.status_code == 200:
            self._told[item] = value
        elif answer.status_code == UNCONFIRMED:
            counts.unconfirmed += 1
        else:
            counts.errors += 1


class Trouble(NamedTuple):
    """What happens in one row: `begin` at its first quarter, `end` at its half."""

    name: str
    begin: Callable[[], object] = lambda: None
    end: Callable[[], object] = lambda: None


def of_one_server(server: RedisServer) -> Iterator[Trouble]:
    yield Trouble("no trouble")
    yield Trouble("hung (SIGSTOP)", server.pause, server.resume)
    yield Trouble("killed, restarted empty", server.kill, server.start)
    yield Trouble("restarted", server.restart)


def of_sentinels(servers: FailingOver) -> Iterator[Trouble]:
    yield Trouble("no trouble")
    yield Trouble("failed over", servers.primary.kill)
    yield Trouble("old primary back as replica", servers.primary.start)


async def run_rows(
    url: str, runs: Path, troubles: list[Trouble], seconds: float, place: str
) -> bool:
    """Print a row for each fault; True if no response was an error or outdated."""
    load = Load(url)
    clients = asyncio.ensure_future(load.run())
    fine = True
    try:
        for trouble in troubles:
            load.counts, ran = Counts(), runs_of(runs)
            await asyncio.sleep(seconds / 4)
            await asyncio.to_thread(trouble.begin)
            await asyncio.sleep(seconds / 4)
            await asyncio.to_thread(trouble.end)
            await asyncio.sleep(seconds / 2)
            print_row(f"{place}: {trouble.name}", load.counts, runs_of(runs) - ran)
            fine &= load.counts.errors == load.counts.stale == 0
    finally:
        clients.cancel()
        await asyncio.gather(clients, return_exceptions=True)
    return fine


def runs_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


COLUMNS = (
    *("requests", "5xx", "unsure", "stale", "runs"),
    *("read p50", "p99", "worst", "write p50", "worst"),
)


def print_row(name: str, counts: Counts, runs: int) -> None:
    reads, writes = sorted(counts.reads_ms), sorted(counts.writes_ms)
    numbers = (counts.requests, counts.errors, counts.unconfirmed, counts.stale, runs)
    latencies = (
        *(reads[len(reads) // 2], reads[len(reads) * 99 // 100], reads[-1]),
        *(writes[len(writes) // 2], writes[-1]),
    )
    cells = "".join(f"{number:>10}" for number in numbers)
    print(f"{name:58}{cells}" + "".join(f"{ms:>10.0f}" for ms in latencies), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    each = parser.parse_args().seconds / 10
    print(f"{'':58}" + "".join(f"{column:>10}" for column in COLUMNS))
    fine = on_one_server(each)
    for replicas in (0, 1):
        fine &= on_sentinels(each, replicas)
    return int(not fine)


def on_one_server(seconds: float) -> bool:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(RedisServer())
        url = stack.enter_context(workers(directory, REDIS_URL=server.url))
        troubles = list(of_one_server(server))
        return asyncio.run(run_rows(url, directory / "runs", troubles, seconds, "one server"))


def on_sentinels(seconds: float, replicas: int) -> bool:
    """With `wait_replicas` 0 an acknowledged eviction may be lost; only 1 has to be free of it."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = FailingOver(stack)
        nodes = f"{LOOPBACK}:{servers.sentinel.port}"
        settings = {"REDIS_SENTINEL": "true", "REDIS_SENTINEL_NODES": nodes}
        settings["REDIS_WAIT_REPLICAS"] = str(replicas)
        url = stack.enter_context(workers(directory, **settings))
        troubles, place = list(of_sentinels(servers)), f"sentinels, wait_replicas={replicas}"
        fine = asyncio.run(run_rows(url, directory / "runs", troubles, seconds, place))
        return fine or replicas == 0


if __name__ == "__main__":
    sys.exit(main())
