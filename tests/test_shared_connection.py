"""The shared connection: what is sent together, what counts as an outage, what an outage costs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from io import BytesIO
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, ReadOnlyError, ResponseError

from redis_fastapi._redis import batching
from redis_fastapi._redis.shared_connection import SharedConnection
from redis_fastapi._redis.shared_transport import shared_transport
from redis_fastapi._redis.store import Store
from redis_fastapi._redis.transport import keyed
from redis_fastapi.exceptions import CacheUnavailableError
from servers import RedisServer
from store_contract import TARGET

GET = keyed("GET", b"key")
SOON = 0.02
"""A deadline in seconds that nothing scripted has to meet."""


class Wire:
    """Every connection of a scripted server, and what was written to it.

    Attributes:
        answers: Gives the reply to a command; a pending future is a server that hangs.
        refuses: What connecting raises, or None.
        written: Commands of each write, without the trials of new connections.
    """

    def __init__(self) -> None:
        self.answers: Callable[[tuple[Any, ...]], Any] = lambda command: [*command[1:]]
        self.refuses: Exception | None = None
        self.trial: Any = 0
        self.hangs = False
        self.written: list[list[tuple[Any, ...]]] = []
        self.connections: list[ScriptedConnection] = []

    def connect(self) -> ScriptedConnection:
        self.connections.append(ScriptedConnection(self))
        return self.connections[-1]


class ScriptedConnection:
    """Replies as its wire is scripted to."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.is_connected = False
        self.replies: asyncio.Queue[Any] = asyncio.Queue()

    async def connect(self) -> None:
        if self.wire.refuses is not None:
            raise self.wire.refuses
        self.is_connected = True

    async def disconnect(self, nowait: bool = False) -> None:
        self.is_connected = False

    def pack_commands(self, commands: Any) -> list[Any]:
        return [tuple(command) for command in commands]

    async def send_packed_command(self, command: list[Any], check_health: bool) -> None:
        if command[0][0] == "DEL":
            return self.replies.put_nowait(self.wire.trial)
        commands = list(commands_in(command))
        self.wire.written.append(commands)
        for one in commands if not self.wire.hangs else ():
            self.replies.put_nowait(self.wire.answers(one))
        return None

    async def read_response(self, disable_decoding: bool, timeout: float | None = None) -> Any:
        reply = await self.replies.get()
        if isinstance(reply, Exception):
            raise reply
        return reply


def commands_in(packed: list[bytes]) -> Iterator[Any]:
    """Commands as they were before they were packed, their names as text."""
    stream = BytesIO(b"".join(packed))
    while head := stream.readline():
        name, *arguments = (
            stream.read(int(stream.readline()[1:]) + 2)[:-2] for _ in range(int(head[1:]))
        )
        yield (name.decode(), *arguments)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@asynccontextmanager
async def connected(
    wire: Wire, *, deadline: float = 5.0, **options: Any
) -> AsyncIterator[SharedConnection]:
    make: Any = wire.connect
    connection = SharedConnection(make, prefix="t", name="here", deadline=deadline, **options)
    yield connection
    await connection.aclose()


async def turns(condition: Callable[[], bool]) -> None:
    """Waits until a condition holds."""
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came true")


def soon(seconds: float = SOON) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_lookups_of_one_write_are_one_command_with_each_key_once(wire: Wire) -> None:
    async with connected(wire) as connection:
        first = connection.get_many([b"a", b"g"], None)
        second = connection.get_many([b"g", b"b", b"a"], None)
        assert await first == [b"a", b"g"]
        assert await second == [b"g", b"b", b"a"]
    assert wire.written == [[("MGET", b"a", b"g", b"b")]]


async def test_on_a_cluster_lookups_are_single_commands_in_one_write(wire: Wire) -> None:
    wire.answers = lambda command: command[1]
    async with connected(wire, spread=True) as connection:
        looks = [connection.get_many([b"a", b"g"], None), connection.get_many([b"g"], None)]
        assert await asyncio.gather(*looks) == [[b"a", b"g"], [b"g"]]
    assert wire.written == [[("GET", b"a"), ("GET", b"g")]]


async def test_a_merged_command_is_of_bounded_size(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "_MERGED_KEYS", 3)
    async with connected(wire) as connection:
        looks = [connection.get_many([b"%d" % number], None) for number in range(7)]
        assert await asyncio.gather(*looks) == [[b"%d" % number] for number in range(7)]
    assert [len(command) - 1 for command in wire.written[0]] == [3, 3, 1]


async def test_commands_keep_their_order_and_their_replies(wire: Wire) -> None:
    wire.answers = lambda command: command[-1]
    async with connected(wire) as connection:
        sent = [
            connection.send([keyed("SET", b"k", n), keyed("SET", b"l", n)], None) for n in range(3)
        ]
        assert await asyncio.gather(*sent) == [[b"%d" % n] * 2 for n in range(3)]
    assert [command[-1] for command in wire.written[0]] == [b"0", b"0", b"1", b"1", b"2", b"2"]


async def test_sending_no_command_returns_at_once(wire: Wire) -> None:
    async with connected(wire) as connection:
        empty, look = connection.send([], None), connection.get_many([b"a"], None)
        assert (await empty, await look) == ([], [b"a"])


async def test_commands_of_cancelled_callers_are_not_sent(wire: Wire) -> None:
    async with connected(wire) as connection:
        connection.get_many([b"a"], None).cancel()
        connection.send([GET], None).cancel()
        await connection.get_many([b"b"], None)
    assert wire.written == [[("MGET", b"b")]]


async def test_a_reply_to_a_cancelled_caller_reaches_no_other(wire: Wire) -> None:
    wire.hangs = True
    async with connected(wire) as connection:
        given_up = connection.get_many([b"a"], None)
        await turns(lambda: bool(wire.written))
        given_up.cancel()
        later = connection.get_many([b"b"], None)
        await turns(lambda: len(wire.written) == 2)
        for reply in ([b"a"], [b"b"]):
            wire.connections[0].replies.put_nowait(reply)
        assert await later == [b"b"]


async def test_an_error_reply_fails_its_own_command_only(wire: Wire) -> None:
    wire.answers = lambda command: ResponseError("no") if command[1] == b"key" else b"yes"
    async with connected(wire) as connection:
        refused, other = (
            connection.send([GET], None),
            connection.send([keyed("GET", b"other")], None),
        )
        assert isinstance((await refused)[0], ResponseError)
        assert await other == [b"yes"]
        assert not connection.is_away


async def test_an_error_reply_to_merged_lookups_fails_them_all(wire: Wire) -> None:
    wire.answers = lambda command: ResponseError("no")
    async with connected(wire) as connection:
        looks = (connection.get_many([b"a"], None), connection.get_many([b"b"], None))
        for failed in await asyncio.gather(*looks, return_exceptions=True):
            assert isinstance(failed, CacheUnavailableError)
            assert isinstance(failed.__cause__, ResponseError)
        assert not connection.is_away


async def test_after_a_late_reply_the_next_command_gets_a_new_connection(
    wire: Wire,
) -> None:
    wire.hangs = True
    async with connected(wire) as connection:
        with pytest.raises(CacheUnavailableError, match="no reply in time"):
            await connection.get_many([b"a"], soon())
        wire.hangs = False
        assert await connection.get_many([b"a"], None) == [b"a"]
        assert not connection.is_away
    assert len(wire.connections) == 2


async def test_consecutive_late_replies_open_the_breaker(wire: Wire) -> None:
    wire.hangs = True
    async with connected(wire) as connection:
        for _ in range(3):
            with pytest.raises(CacheUnavailableError):
                await connection.get_many([b"a"], soon())
        assert connection.is_away


async def test_a_reply_in_between_keeps_the_breaker_closed(wire: Wire) -> None:
    async with connected(wire) as connection:
        for hangs in (True, True, False, True, True):
            wire.hangs = hangs
            await asyncio.gather(connection.get_many([b"a"], soon()), return_exceptions=True)
        assert not connection.is_away


async def test_while_the_breaker_is_open_commands_fail_at_once(wire: Wire) -> None:
    wire.refuses = ConnectionRefusedError()
    async with connected(wire) as connection:
        with pytest.raises(CacheUnavailableError):
            await connection.get_many([b"a"], None)
        assert connection.is_away
        with pytest.raises(CacheUnavailableError):
            connection.get_many([b"a"], None)
        with pytest.raises(CacheUnavailableError):
            connection.send([GET], None)
    assert wire.written == []


@pytest.mark.parametrize("trial", [ReadOnlyError("READONLY"), AuthenticationError("NOAUTH")])
async def test_a_server_that_takes_no_write_does_not_count_as_back(
    wire: Wire, trial: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redis_fastapi._redis.shared_connection._FIRST_PAUSE_SECONDS", 0.001)
    wire.trial = trial
    async with connected(wire) as connection:
        with pytest.raises(CacheUnavailableError):
            await connection.get_many([b"a"], None)
        await turns(lambda: len(wire.connections) > 3)
        assert connection.is_away
        wire.trial = ResponseError("NOPERM")
        await turns(lambda: not connection.is_away)


async def test_a_demoted_primary_is_given_up_with_all_its_replies(wire: Wire) -> None:
    wire.answers = lambda command: ReadOnlyError("READONLY") if command[0] == "SET" else b"old"
    async with connected(wire) as connection:
        sent = connection.send([keyed("SET", b"key", b"value")], None)
        read = connection.send([GET], None)
        for call in (sent, read):
            with pytest.raises(CacheUnavailableError):
                await call
        assert connection.is_away


async def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends(
    wire: Wire, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redis_fastapi._redis.shared_connection._FIRST_PAUSE_SECONDS", 0.001)
    wire.refuses = ConnectionRefusedError("nobody there")
    async with connected(wire) as connection:
        for _ in range(3):
            await asyncio.gather(*_attempts(connection), return_exceptions=True)
        await turns(lambda: len(wire.connections) > 2)
        wire.refuses = None
        await turns(lambda: not connection.is_away)
        assert await connection.get_many([b"a"], None) == [b"a"]
    began, ended = (record.getMessage() for record in caplog.records)
    assert began.startswith("Redis at here is away, endpoints run without it: ConnectionRefused")
    assert ended.startswith("Redis at here is back after ")


def _attempts(connection: SharedConnection) -> list[asyncio.Future[Any]]:
    try:
        return [connection.get_many([b"a"], None)]
    except CacheUnavailableError:
        return []


async def test_the_end_of_an_idle_connection_is_no_outage(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(wire) as connection:
        await connection.get_many([b"a"], None)
        wire.connections[0].replies.put_nowait(ConnectionResetError("idle for long"))
        await turns(lambda: len(wire.connections) == 2)
        assert await connection.get_many([b"b"], None) == [b"b"]
    assert caplog.records == []


async def test_a_queue_that_is_full_takes_no_more(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("redis_fastapi._redis.shared_connection._MOST_WAITING", 3)
    async with connected(wire) as connection:
        waiting = [connection.get_many([b"%d" % number], None) for number in range(3)]
        with pytest.raises(CacheUnavailableError, match="full"):
            connection.get_many([b"4"], None)
        assert await asyncio.gather(*waiting) == [[b"0"], [b"1"], [b"2"]]


async def test_a_closed_connection_leaves_no_task_timer_or_waiting_caller(
    wire: Wire,
) -> None:
    wire.hangs = True
    before = asyncio.all_tasks()
    async with connected(wire) as connection:
        waiting = connection.get_many([b"a"], soon(5.0))
        await turns(lambda: bool(wire.written))
    with pytest.raises(CacheUnavailableError):
        await waiting
    with pytest.raises(CacheUnavailableError):
        connection.get_many([b"a"], None)
    assert asyncio.all_tasks() == before
    assert connection._timer is None or connection._timer.cancelled()
    assert not wire.connections[0].is_connected


def test_another_event_loop_is_refused_and_named_once(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    connection = SharedConnection(wire.connect, prefix="t", name="here", deadline=5.0)

    async def use() -> None:
        await connection.get_many([b"a"], None)

    async def close() -> None:
        await connection.aclose()

    with asyncio.Runner() if hasattr(asyncio, "Runner") else _Loop() as first:
        first.run(use())
        for _ in range(2):
            with pytest.raises(CacheUnavailableError, match="another event loop"):
                _in_another_thread(use)
        first.run(use())
        first.run(close())
    (said,) = caplog.messages
    assert "Use it on the loop of its lifespan" in said


class _Loop:
    """What asyncio.Runner is, before Python 3.11."""

    def __enter__(self) -> _Loop:
        self.loop = asyncio.new_event_loop()
        return self

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def __exit__(self, *_: object) -> None:
        self.loop.close()


def _in_another_thread(work: Callable[[], Any]) -> None:
    with ThreadPoolExecutor(1) as threads:
        threads.submit(asyncio.run, work()).result()


def busy(seconds: float) -> Iterator[None]:
    """An application that blocks its event loop in every other turn."""
    while True:
        time.sleep(seconds)
        yield


async def kept_busy(work: asyncio.Task[Any], seconds: float) -> None:
    for _ in busy(seconds):
        await asyncio.sleep(0)
        if work.done():
            return


async def look_ups(store: Store, number: int) -> int:
    """How many lookups failed."""
    failed = 0
    for _ in range(number):
        try:
            await store.read(TARGET)
        except CacheUnavailableError:
            failed += 1
    return failed


async def failures_in_a_busy_loop(client: Redis, transport: Any) -> int:
    await Store(client, prefix="t", deadline=5.0, transport=transport).read(TARGET)
    store = Store(client, prefix="t", deadline=SOON, transport=transport)
    work = asyncio.ensure_future(look_ups(store, 12))
    await kept_busy(work, 2 * SOON)
    await store.aclose()
    return await work


async def test_a_busy_event_loop_is_no_outage(redis_client: Redis) -> None:
    held = shared_transport(redis_client, prefix="t", name="here", deadline=5.0)
    assert await failures_in_a_busy_loop(redis_client, held) == 0


async def test_control_without_grace_a_busy_event_loop_is_an_outage(
    redis_client: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedConnection, "_deserves_grace", lambda *_, **__: False)
    held = shared_transport(redis_client, prefix="t", name="here", deadline=5.0)
    assert await failures_in_a_busy_loop(redis_client, held) > 0


async def test_a_secret_is_in_no_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "redis_fastapi")
    with RedisServer("--requirepass", "right") as server:
        url = server.url.replace("://", "://:wrong-secret@")
        async with Redis.from_url(url) as client:
            transport = shared_transport(client, prefix="t", name="here", deadline=5.0)
            store = Store(client, prefix="t", deadline=5.0, transport=transport)
            with pytest.raises(CacheUnavailableError):
                await store.read(TARGET)
            await store.aclose()
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text


async def test_the_pool_lends_no_connection(redis_client: Redis) -> None:
    transport = shared_transport(redis_client, prefix="t", name="here", deadline=5.0)
    store = Store(redis_client, prefix="t", deadline=5.0, transport=transport)
    await asyncio.gather(*(store.read(TARGET) for _ in range(50)))
    connected: Any = partial(redis_client.client_list)
    held = [one for one in await connected() if one["cmd"] == "mget"]
    await store.aclose()
    assert len(held) == 1


async def test_a_connection_can_close_right_after_it_looked_for_another_server(wire: Wire) -> None:
    seeks, found = asyncio.Event(), asyncio.Event()

    async def seek() -> None:
        seeks.set()
        await found.wait()

    wire.refuses = ConnectionError("no")
    async with connected(wire, rediscover=seek) as connection:
        with pytest.raises(CacheUnavailableError):
            await connection.get_many([b"a"], None)
        await seeks.wait()
        found.set()
        await asyncio.wait_for(connection.aclose(), 5.0)
