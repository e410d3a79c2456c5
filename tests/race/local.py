"""What processes keep for themselves, while another one evicts: `python -m race.local`.

Readers keep entries locally, a writer evicts, and once that is acknowledged tells when it was. A
lookup that began later than `GRACE_SECONDS` after that and returns less is a violation. Before it
looks, a reader lets its event loop turn, so that a process that was not running is not blamed for
what it could not receive. Tracking connections are killed all the while.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import random
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import redis
from redis.asyncio import Redis, RedisCluster

from race.harness import PREFIX, Context, entry_of, migrate, target
from redis_fastapi._engine.engine import Engine, Hit, Miss
from redis_fastapi._engine.local import LocalTier
from redis_fastapi._redis.changes import Changes, Marks
from redis_fastapi._redis.entry import Entry
from redis_fastapi._redis.keys import EPOCH, Target, digest, group_name, path_name
from redis_fastapi._redis.shared_transport import shared_transport
from redis_fastapi._redis.store import Snapshot, Store
from redis_fastapi._redis.tracking import Tracking
from servers import RedisCluster3, RedisServer

KEYS = 4
READERS = 2
TASKS = 6
GRACE_SECONDS = 0.05
TURNS = 4
"""Turns of the event loop that bring what a socket holds to the tracker."""

DEADLINE = 2.0
TTL_MS = 60_000
JOIN_SECONDS = 10.0


class LateReplies(Store):
    """A store whose replies stay in the process for a while before anybody sees them."""

    async def read(
        self, target: Target, *, lease: bool = False, until: float | None = None
    ) -> Snapshot:
        snapshot = await super().read(target, lease=lease, until=until)
        await asyncio.sleep(random.choice((0, random.uniform(0, 0.004))))
        return snapshot


class MarksOfTheReply(LocalTier):
    """Breaks the rule that marks are taken before the request leaves."""

    def keep(self, target: Target, entry: Entry, marks: Marks | None, *, now_ms: int) -> None:
        super().keep(target, entry, self.begin(target), now_ms=now_ms)


@dataclass(frozen=True, slots=True)
class Setup:
    """The parameters of one run, for all its processes."""

    urls: tuple[str, ...]
    tier: type[LocalTier] = LocalTier
    until_violated: bool = False

    @property
    def cluster(self) -> bool:
        """Whether the servers are primaries of one cluster."""
        return len(self.urls) > 1


@dataclass(frozen=True, slots=True)
class Board:
    """Numbers that all processes share; `longest` in seconds, by reader."""

    truth: Any
    told: Any
    told_at: Any
    look_ups: Any
    kept: Any
    longest: Any
    violations: Any
    evictions: Any
    stop: Any

    @classmethod
    def new(cls) -> Board:
        """A board with zeros."""

        def numbers(size: int) -> Any:
            return Context.RawArray(ctypes.c_uint64, size)

        def times(size: int) -> Any:
            return Context.RawArray(ctypes.c_double, size)

        return cls(
            truth=numbers(KEYS),
            told=numbers(KEYS),
            told_at=times(KEYS),
            look_ups=numbers(READERS),
            kept=numbers(READERS),
            longest=times(READERS),
            violations=numbers(READERS),
            evictions=Context.RawValue(ctypes.c_uint64, 0),
            stop=Context.RawValue(ctypes.c_uint64, 0),
        )


@dataclass(frozen=True, slots=True)
class Result:
    """What one run counted; `longest_ms` is the oldest response after an acknowledged eviction."""

    look_ups: int
    kept: int
    evictions: int
    kills: int
    violations: int
    longest_ms: float


class Worker:
    """An engine with what one process keeps."""

    def __init__(self, setup: Setup) -> None:
        factory: Any = RedisCluster if setup.cluster else Redis
        url, changes = setup.urls[0], Changes()
        self._client: Any = factory.from_url(url)
        self.tracking = Tracking(self._client, changes, prefix=PREFIX, name=url)
        self.tier = setup.tier(changes, max_bytes=1_000_000)
        transport = shared_transport(
            self._client,
            prefix=PREFIX,
            name=url,
            deadline=DEADLINE,
            read_from=self.tracking.read_from,
        )
        store = LateReplies(self._client, prefix=PREFIX, deadline=DEADLINE, transport=transport)
        self.engine = Engine(store, wait_max=0.25, local=self.tier)

    async def aclose(self) -> None:
        """End in the order of an application."""
        await self.tracking.aclose()
        await self.engine.aclose()
        await self._client.aclose()


def read_until_stopped(setup: Setup, board: Board, number: int) -> None:
    """Body of a reading process."""
    asyncio.run(_read(setup, board, number))


async def _read(setup: Setup, board: Board, number: int) -> None:
    worker = Worker(setup)
    worker.tracking.start()
    await asyncio.gather(*(_read_keys(worker, board, number) for _ in range(TASKS)))
    await worker.aclose()


async def _read_keys(worker: Worker, board: Board, number: int) -> None:
    while not board.stop.value:
        key = random.randrange(KEYS)
        told, began = board.told[key], time.monotonic()
        late = began - board.told_at[key]
        for _ in range(TURNS):
            await asyncio.sleep(0)
        board.kept[number] += worker.engine.recall(target(key)) is not None
        value = await _look_up(worker.engine, board, key)
        board.look_ups[number] += 1
        if value < told:
            board.longest[number] = max(board.longest[number], late)
            board.violations[number] += late > GRACE_SECONDS
        await asyncio.sleep(random.uniform(0, 0.002))


async def _look_up(engine: Engine, board: Board, key: int) -> int:
    outcome = await engine.look_up(target(key), local=True)
    if isinstance(outcome, Hit):
        return int(outcome.entry.body)
    value = int(board.truth[key])
    if isinstance(outcome, Miss):
        await outcome.lease.fill(entry_of(value), TTL_MS)
    return value


def write_until_stopped(setup: Setup, board: Board) -> None:
    """Body of the writing process."""
    asyncio.run(_write(setup, board))


async def _write(setup: Setup, board: Board) -> None:
    worker = Worker(setup)
    await asyncio.gather(*(_write_key(worker.engine, board, key) for key in range(KEYS)))
    await worker.aclose()


async def _write_key(engine: Engine, board: Board, key: int) -> None:
    while not board.stop.value:
        board.truth[key] += 1
        if await _evict(engine, key):
            board.told_at[key] = time.monotonic()
            board.told[key] = board.truth[key]
            board.evictions.value += 1
        # Long enough at times for what was kept wrongly to be found old.
        await asyncio.sleep(random.choice((0.002, 0.01, 0.05, 0.2)))


async def _evict(engine: Engine, key: int) -> bool:
    wanted, choice = target(key), random.random()
    if choice < 0.5:
        return await engine.evict((wanted.entry,), ())
    return await engine.evict((), wanted.generations[1:] if choice < 0.85 else (EPOCH,))


def run(
    setup: Setup, seconds: float, *, kill_every: float = 3.0, moves: Iterable[None] = ()
) -> Result:
    """Readers and a writer, once all of them have begun.

    Args:
        setup: Where, and with which tier.
        seconds: How long at most.
        kill_every: Seconds between two kills of all tracking connections.
        moves: Steps that are taken meanwhile, one after the other.
    """
    board = Board.new()
    bodies: list[tuple[Any, tuple[Any, ...]]] = [(write_until_stopped, (setup, board))]
    bodies += [(read_until_stopped, (setup, board, number)) for number in range(READERS)]
    processes = [Context.Process(target=body, args=args, daemon=True) for body, args in bodies]
    for process in processes:
        process.start()
    try:
        _await_begin(board)
        kills = _kill_trackers(setup, board, seconds, kill_every, iter(moves))
    finally:
        board.stop.value = 1
        for process in processes:
            process.join(JOIN_SECONDS)
            process.kill()
    return Result(
        *(sum(board.look_ups), sum(board.kept), board.evictions.value, kills),
        *(sum(board.violations), max(board.longest) * 1_000),
    )


def _kill_trackers(
    setup: Setup, board: Board, seconds: float, kill_every: float, moves: Iterator[None]
) -> int:
    """How many connections were killed in that time."""
    with ExitStack() as stack:
        servers = [stack.enter_context(redis.Redis.from_url(url)) for url in setup.urls]
        kills, end = 0, time.monotonic() + seconds
        kill = time.monotonic() + kill_every
        while (now := time.monotonic()) < end:
            if setup.until_violated and any(board.violations):
                break
            if now >= kill:
                kills += sum(int(s.execute_command("CLIENT KILL TYPE pubsub")) for s in servers)
                kill = now + kill_every
            next(moves, None)
            time.sleep(0.02)
    return kills


def _await_begin(board: Board) -> None:
    for _ in range(3_000):
        if all(board.kept) and board.evictions.value:
            return
        time.sleep(0.01)
    raise TimeoutError("the processes did not begin")


# Memory


def target_like(number: int) -> Target:
    """What a GET with a query parameter and two groups looks up; nothing of it is shared."""
    names = (group_name(f"shop {number % 100}"), group_name(f"item {number}"))
    path = path_name(f"/items/{number}")
    return Target(digest([f"/items/{number}"]), (EPOCH, path, *names), b"shape--1")


def entry_like(number: int, body: int, now_ms: int) -> Entry:
    """A response with realistic headers."""
    headers = (
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % body),
        (b"etag", b'"%032x"' % number),
        (b"cache-control", b"max-age=300"),
        (b"last-modified", b"Sun, 06 Nov 1994 08:49:37 GMT"),
    )
    copied = tuple((bytes(bytearray(name)), bytes(bytearray(value))) for name, value in headers)
    return Entry(200, copied, bytes(body), now_ms, 300_000)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a tier holds after so many keys; bytes but for the first two."""

    keys: int
    kept: int
    counted: int
    resident: int


def fill_with_keys(keys: int, max_bytes: int, body: int = 500) -> Iterator[Memory]:
    """Keep that many distinct entries, and report ten times on the way."""
    changes, now_ms = Changes(), int(time.time() * 1_000)
    changes.begin()
    tier = LocalTier(changes, max_bytes=max_bytes)
    before = _peak_bytes()
    for number in range(1, keys + 1):
        wanted = target_like(number)
        tier.keep(wanted, entry_like(number, body, now_ms), tier.begin(wanted), now_ms=now_ms)
        if number % (keys // 10) == 0:
            yield Memory(number, len(tier), tier.cost, _peak_bytes() - before)


def _peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1_024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each of the three races")
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--megabytes", type=int, default=64)
    options = parser.parse_args()
    failed = _show_memory(options.keys, options.megabytes * 1024 * 1024)
    return int(_show_races(options.seconds) or failed)


def _show_memory(keys: int, max_bytes: int) -> bool:
    print(f"{'distinct keys':>14}{'kept':>9}{'counted MB':>12}{'grown by MB':>13}{'bound MB':>10}")
    failed = False
    for at in fill_with_keys(keys, max_bytes):
        failed |= at.resident > max_bytes
        counted, resident, bound = (n / 1024**2 for n in (at.counted, at.resident, max_bytes))
        print(f"{at.keys:>14}{at.kept:>9}{counted:>12.1f}{resident:>13.1f}{bound:>10.1f}")
    return failed


def _show_races(seconds: float) -> bool:
    print(
        f"\n{'kept in the process':44}{'lookups':>9}{'kept':>8}{'evicts':>8}{'kills':>6}"
        f"{'longest ms':>11}{'stale > 50 ms':>14}"
    )
    failed = False
    with RedisServer() as server, RedisCluster3() as cluster:
        alone, spread = (server.url,), tuple(node.url for node in cluster.nodes)
        failed |= _show("standalone", run(Setup(alone), seconds), violated=False)
        failed |= _show("3 primaries", run(Setup(spread), seconds), violated=False)
        moving = run(Setup(spread), seconds, moves=migrate(cluster))
        failed |= _show("3 primaries, slots moving", moving, violated=False)
        for place, urls in (("standalone", alone), ("3 primaries", spread)):
            setup = Setup(urls, MarksOfTheReply, until_violated=True)
            name = f"control: marks of the reply, {place}"
            failed |= _show(name, run(setup, seconds), violated=True)
    return failed


def _show(name: str, result: Result, *, violated: bool) -> bool:
    failed = (result.violations > 0) is not violated
    print(
        f"{name:44}{result.look_ups:>9}{result.kept:>8}{result.evictions:>8}{result.kills:>6}"
        f"{result.longest_ms:>11.1f}{result.violations:>14}{'  FAILED' if failed else ''}",
        flush=True,
    )
    return failed


if __name__ == "__main__":
    sys.exit(main())
