"""Many processes race on a few keys; no lookup may return what was evicted before it began.

`truth` is the database: a computation reads it at its beginning. A writer raises it, evicts or
puts, and once that is acknowledged raises `told`. A lookup that ends with less than what `told`
held when it began is a violation.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis, RedisCluster
from typing_extensions import Self

from redis_fastapi._engine.engine import Engine, Hit, Miss, Outcome
from redis_fastapi._redis.entry import Entry
from redis_fastapi._redis.keys import EPOCH, Target, digest, group_name
from redis_fastapi._redis.shared_transport import shared_transport
from redis_fastapi._redis.store import Store
from store_contract import Remembered, remembered

KEYS = 6
READERS = 4
TASKS = 8
LEASE_MS = 150
DEADLINE = 2.0
TTL_MS = 2_000
JOIN_SECONDS = 10.0

PREFIX = "race"
Context = multiprocessing.get_context("forkserver")
Context.set_forkserver_preload(["fakeredis", "redis.asyncio.cluster", Engine.__module__])


def target(key: int) -> Target:
    return Target(digest([f"key {key}"]), (EPOCH, group_name(f"k{key}")), b"shape--1")


def redis_keys() -> list[str]:
    """Every key whose slot matters."""
    entries = [f"{PREFIX}:e:{{{target(key).entry}}}" for key in range(KEYS)]
    generations = {name for key in range(KEYS) for name in target(key).generations}
    return [*entries, *(f"{PREFIX}:{name}" for name in generations)]


@dataclass(frozen=True, slots=True)
class Setup:
    """The parameters of one race, for all its processes."""

    url: str
    cluster: bool
    kind: type[Store] = Store
    memory: type[Remembered] = Remembered
    until_violated: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """Numbers that all processes share."""

    truth: Any
    told: Any
    look_ups: Any
    evictions: Any
    puts: Any
    violations: Any
    stop: Any

    @classmethod
    def new(cls) -> Board:
        """A board with zeros."""
        arrays = [Context.RawArray(ctypes.c_uint64, size) for size in (KEYS, KEYS, READERS)]
        values = [Context.RawValue(ctypes.c_uint64, 0) for _ in range(4)]
        return cls(*arrays, *values)


@dataclass(frozen=True, slots=True)
class Result:
    """What one race counted."""

    look_ups: int
    evictions: int
    puts: int
    kills: int
    moves: int
    violations: int


def engine_for(setup: Setup, **options: Any) -> tuple[Engine, Redis | RedisCluster]:
    """An engine as one worker has it, and its client."""
    factory: Any = RedisCluster if setup.cluster else Redis
    client: Redis | RedisCluster = factory.from_url(setup.url)
    transport = shared_transport(client, prefix=PREFIX, name=setup.url, deadline=DEADLINE)
    store = setup.kind(client, prefix=PREFIX, deadline=DEADLINE, transport=transport)
    return Engine(store, lease_ms=LEASE_MS, wait_max=0.25, **options), client


def read_until_stopped(setup: Setup, board: Board, number: int) -> None:
    """Body of a reading process."""
    asyncio.run(_read(setup, board, number))


async def _read(setup: Setup, board: Board, number: int) -> None:
    engine, client = engine_for(setup)
    readers = [_Reader(engine, board, setup.memory) for _ in range(TASKS)]
    await asyncio.gather(*(_read_keys(reader, board, number) for reader in readers))
    await engine.aclose()
    await client.aclose()


async def _read_keys(reader: _Reader, board: Board, number: int) -> None:
    while not board.stop.value:
        key = random.randrange(KEYS)
        told = board.told[key]
        value = await reader.look_up(key)
        board.look_ups[number] += 1
        if value < told:
            board.violations.value += 1
        await asyncio.sleep(random.uniform(0, 0.004))


class _Reader:
    """Looks up, and looks again for what it found before."""

    def __init__(self, engine: Engine, board: Board, memory: type[Remembered]) -> None:
        self._engine = engine
        self._board = board
        self._memory = memory
        self._known: dict[int, Remembered] = {}

    async def look_up(self, key: int) -> int:
        """The value of a key, computed where it is not there."""
        outcome = await self._outcome(key)
        if isinstance(outcome, bytes):
            return int(outcome)
        if isinstance(outcome, Hit):
            if outcome.read is not None:
                self._known[key] = remembered(outcome.read, self._memory)
            return int(outcome.entry.body)
        return await _compute(outcome, self._board, key)

    async def _outcome(self, key: int) -> Outcome | bytes:
        known = self._known.get(key)
        if known is None:
            return await self._engine.look_up(target(key))
        return await self._engine.look_again(target(key), known, wait=True)


async def _compute(outcome: Outcome, board: Board, key: int) -> int:
    value = int(board.truth[key])
    slow = random.random() < 0.1
    if slow and isinstance(outcome, Miss) and random.random() < 0.5:
        # A holder that forgets to renew: its lease ends while it computes.
        outcome.lease._timer.cancel()
    await asyncio.sleep(random.uniform(0, 0.4 if slow else 0.01))
    if isinstance(outcome, Miss):
        await outcome.lease.fill(entry_of(value), TTL_MS)
    return value


def entry_of(value: int) -> Entry:
    return Entry(200, (), b"%d" % value, 0, 0)


def write_until_stopped(setup: Setup, board: Board) -> None:
    """Body of the writing process."""
    asyncio.run(_write(setup, board))


async def _write(setup: Setup, board: Board) -> None:
    engine, client = engine_for(setup)
    await asyncio.gather(*(_write_key(engine, board, key) for key in range(KEYS)))
    await engine.aclose()
    await client.aclose()


async def _write_key(engine: Engine, board: Board, key: int) -> None:
    while not board.stop.value:
        choice = random.random()
        lease = await engine.seize(target(key)) if choice < 0.2 else None
        board.truth[key] += 1
        value = int(board.truth[key])
        if lease is not None:
            done = await engine.put(lease, entry_of(value), TTL_MS)
            board.puts.value += 1
        else:
            done = await _evict(engine, key, choice)
            board.evictions.value += 1
        if done:
            board.told[key] = value
        await asyncio.sleep(random.choice((0, 0.002, 0.01, 0.05)) * random.random())


async def _evict(engine: Engine, key: int, choice: float) -> bool:
    wanted = target(key)
    soft = random.random() < 0.3
    if choice < 0.6:
        return await engine.evict((wanted.entry,), (), soft=soft)
    generations = wanted.generations[1:] if choice < 0.9 else (EPOCH,)
    return await engine.evict((), generations, soft=soft)


class _Crew:
    """The processes of one race, a writer and its readers."""

    def __init__(self, setup: Setup, board: Board) -> None:
        self._board = board
        self.kills = 0
        readers = [(read_until_stopped, setup, board, number) for number in range(READERS)]
        self._work: list[tuple[Any, ...]] = [(write_until_stopped, setup, board), *readers]
        self._processes = [self._start(*work) for work in self._work]

    def _start(self, body: Callable[..., None], *arguments: Any) -> Any:
        process = Context.Process(target=body, args=arguments, daemon=True)
        process.start()
        return process

    def require_alive(self) -> None:
        """Raise RuntimeError if a process ended by itself: a violation would go unnoticed."""
        if any(process.exitcode is not None for process in self._processes):
            raise RuntimeError("a process of the race ended by itself")

    def kill_one(self) -> None:
        """SIGKILL a process and start another in its place."""
        number = random.randrange(len(self._work))
        self._processes[number].kill()
        self._processes[number].join()
        self._processes[number] = self._start(*self._work[number])
        self.kills += 1

    def stop(self) -> None:
        """Let all processes end; those that do not are killed."""
        self._board.stop.value = 1
        for process in self._processes:
            process.join(JOIN_SECONDS)
            process.kill()


class _Mover:
    """Does one thing after the other during a race."""

    def __init__(self, moves: Iterator[None]) -> None:
        self._moves = moves
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.moved = 0

    def _run(self) -> None:
        while not self._ended.is_set() and next(self._moves, self) is not self:
            self.moved += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def race(
    setup: Setup, seconds: float, *, kill_every: float = 1.5, moves: Iterable[None] = ()
) -> Result:
    """Run one race once all of its processes have begun.

    Args:
        setup: Where, and with which store.
        seconds: How long at most.
        kill_every: Seconds between two kills.
        moves: What happens beside it, one step after the other.
    """
    board = Board.new()
    crew = _Crew(setup, board)
    try:
        _await_begin(board)
        with _Mover(iter(moves)) as mover:
            _kill_until_the_end(crew, seconds, kill_every, lambda: _is_caught(setup, board))
    finally:
        crew.stop()
    return Result(
        *(sum(board.look_ups), board.evictions.value, board.puts.value),
        *(crew.kills, mover.moved, board.violations.value),
    )


def _is_caught(setup: Setup, board: Board) -> bool:
    return bool(setup.until_violated and board.violations.value)


def _kill_until_the_end(
    crew: _Crew, seconds: float, kill_every: float, is_over: Callable[[], bool]
) -> None:
    end, kill = time.monotonic() + seconds, time.monotonic() + kill_every
    while (now := time.monotonic()) < end and not is_over():
        crew.require_alive()
        if now >= kill:
            crew.kill_one()
            kill = now + kill_every
        time.sleep(0.02)


def _await_begin(board: Board) -> None:
    for _ in range(6_000):
        if all(board.look_ups) and board.evictions.value:
            return
        time.sleep(0.01)
    raise TimeoutError("the processes of the race did not begin")


def migrate(cluster: Any) -> Iterator[None]:
    """Move the slots of the race from node to node, slowly, one at each step."""
    numbers = {int(cluster.nodes[0].command("CLUSTER", "KEYSLOT", key)) for key in redis_keys()}
    slots: dict[int, Any] = {slot: owner(cluster, slot) for slot in numbers}
    while True:
        slot = random.choice(list(slots))
        new = random.choice([node for node in cluster.nodes if node is not slots[slot]])
        move(cluster, slot, slots[slot], new)
        slots[slot] = new
        yield


def move(cluster: Any, slot: int, old: Any, new: Any) -> None:
    """Move one slot with its keys, slowly enough for requests to come in between."""
    old_id, new_id = (str(node.command("CLUSTER", "MYID")) for node in (old, new))
    new.command("CLUSTER", "SETSLOT", slot, "IMPORTING", old_id)
    old.command("CLUSTER", "SETSLOT", slot, "MIGRATING", new_id)
    time.sleep(0.03)
    _move_keys(old, new, slot)
    for node in (new, old, *(n for n in cluster.nodes if n not in (old, new))):
        node.command("CLUSTER", "SETSLOT", slot, "NODE", new_id)


def owner(cluster: Any, slot: int) -> Any:
    """The node that holds a slot."""
    for first, last, (_, port, *_) in (
        row[:3] for row in cluster.nodes[0].command("CLUSTER", "SLOTS")
    ):
        if int(first) <= slot <= int(last):
            return next(node for node in cluster.nodes if node.port == int(port))
    raise LookupError(slot)


def _move_keys(old: Any, new: Any, slot: int) -> None:
    while keys := old.command("CLUSTER", "GETKEYSINSLOT", slot, 10):
        for key in keys:
            with suppress(Exception):  # the key may end at this moment
                old.command("MIGRATE", "127.0.0.1", new.port, key, 0, 1000, "REPLACE")
        time.sleep(0.005)
