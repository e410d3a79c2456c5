"""One connection to one server that all requests share, and the breaker in front of it.

- Calls are written in the order they came, pipelined; replies belong to them in that order. Only
  look-ups of one turn of the event loop are merged, each key asked for once.
- A call is sent at most once. When the connection breaks, all calls under way fail with it.
- A call that is not answered in time breaks the connection: what follows it would be late as well.
  Time in which the event loop itself was busy is not held against the server.
- The breaker opens when no connection can be made in time, after several late calls in a row, and
  when the server is no primary. While it is open calls fail at once; a task of the lane tries to
  connect, and a connection counts once the server has taken a write on it in time. While it is
  read from, it has to take one every second: a primary that was demoted may be read for ever.
- What is sent after the end goes over a connection made for it: a write that its server cancels at
  shutdown comes to its evictions only then.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import Context
from itertools import chain
from math import inf
from typing import Any, NoReturn

from redis.exceptions import ConnectionError, ReadOnlyError

from ._background import cancel
from ._batching import Call, Lone, Look, Merged, batched
from ._transport import (
    AwayError,
    Command,
    Connection,
    exchange,
    keyed,
    read_reply,
    timeout_at,
)
from .exceptions import CacheUnavailableError

_log = logging.getLogger("redis_fastapi")

_GRACE_SECONDS = 0.005
_MOST_GRACES = 4
"""How often a call is given grace when the event loop itself was late."""

_FAILURES = 3
"""Late calls in a row that open the breaker."""

_CONNECT_SECONDS = 1.0
_SEEK_SECONDS = 0.5
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0
"""From one attempt to connect to the next: a recovery is noticed within two seconds."""

_PROOF_SECONDS = 1.0
"""Between two proofs that the server is a primary, while it is read from."""

_MOST_WAITING = 10_000
"""Calls not written yet, beyond which a lane takes no more."""


class Lane:
    """The shared connection to one server.

    Args:
        make: A new connection, not yet connected.
        prefix: First part of every key.
        name: The server in log lines.
        deadline: Seconds within which a server that is there answers.
        spread: Whether keys lie in many slots of a cluster, so that MGET cannot read them.
        seek: What else to try while the server does not answer.
        demoted: Called when the server turns out to be no primary any more.
    """

    def __init__(
        self,
        make: Callable[[], Connection],
        *,
        prefix: str,
        name: str,
        deadline: float,
        spread: bool = False,
        seek: Callable[[], Awaitable[object]] | None = None,
        demoted: Callable[[], None] | None = None,
    ) -> None:
        self._make = make
        # A write is refused by a replica and taken by a primary that is out of memory.
        self._trial = keyed("DEL", f"{prefix}:trial".encode())
        self._name = name
        self._deadline = deadline
        self._spread = spread
        self._seek = seek
        self._demoted = demoted
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._queue: list[Call | Look] = []
        self._sent: deque[Call | Lone | Merged] = deque()
        self._idle: asyncio.Future[None] | None = None
        self._work: list[asyncio.Task[None]] = []
        self._failures = 0
        self._since: float | None = None
        self._looked = False
        self._closed = False
        self._refused_loop = False

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open: calls fail at once."""
        return self._since is not None

    def look(self, keys: Sequence[bytes], until: float | None) -> asyncio.Future[list[Any]]:
        """Values of keys, None for missing ones; of a spread lane also error replies."""
        future = self._begin()
        self._looked = True
        self._enqueue(Look(keys, future, inf if until is None else until))
        return future

    def send(self, commands: Sequence[Command], until: float | None) -> asyncio.Future[list[Any]]:
        """Replies in order, error replies as exceptions."""
        if self._closed and not self.is_open:
            return asyncio.ensure_future(self._send_alone(commands, until))
        future = self._begin()
        packed = [command.args for command in commands]
        if not packed:  # no reply would ever end it, and it would keep those of others
            future.set_result([])
            return future
        self._enqueue(Call(packed, future, inf if until is None else until))
        return future

    def require_closed(self) -> None:
        """Raise AwayError while the breaker is open."""
        if self.is_open:
            raise AwayError(f"Redis at {self._name} is away")

    async def aclose(self) -> None:
        """Close the connection; later look-ups fail."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await cancel(keeper)
        self._fail_all(ConnectionError("closed"))

    def _begin(self) -> asyncio.Future[list[Any]]:
        if self._since is not None:
            self.require_closed()
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._start(loop)
        if self._closed or len(self._queue) >= _MOST_WAITING:
            raise CacheUnavailableError("the connection is closed or full")
        return loop.create_future()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._closed:
            raise CacheUnavailableError("the connection is closed")
        if self._loop is not None:
            self._refuse_other_loop()
        self._loop = loop
        # In no request's context: the task outlives the one that starts it.
        self._keeper = Context().run(loop.create_task, self._keep())

    def _refuse_other_loop(self) -> NoReturn:
        if not self._refused_loop:
            self._refused_loop = True
            _log.warning(
                "Redis at %s: the application was asked on another event loop than it started on, "
                "and runs without the cache there. Ask it on the loop of its lifespan",
                self._name,
                extra={"redis": self._name},
            )
        raise CacheUnavailableError("the connection is another event loop's")

    def _enqueue(self, call: Call | Look) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        self._queue.append(call)
        if call.until < inf and (self._timer is None or call.until < self._timer.when()):
            self._check_at(call.until)

    def _check_at(self, when: float) -> None:
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._check, when)

    def _check(self, due: float) -> None:
        self._timer = None
        oldest = min(self._under_way(), key=lambda call: call.until, default=None)
        if oldest is None or oldest.until == inf:
            return
        assert self._loop is not None
        now = self._loop.time()
        if oldest.until > now:
            self._check_at(oldest.until)
        elif self._deserves_grace(oldest, late=now - due):
            self._check_at(now + _GRACE_SECONDS)
        else:
            self._break(TimeoutError("no answer in time"))

    def _under_way(self) -> Iterator[Call | Look | Lone | Merged]:
        return (call for call in chain(self._sent, self._queue) if call.waited_for)

    def _deserves_grace(self, call: Call | Look | Lone | Merged, *, late: float) -> bool:
        """Whether the reply may be here already, and the event loop has not come to it."""
        if isinstance(call, Look):  # not even written
            return late > _GRACE_SECONDS
        call.graces += 1
        return call.graces == 1 or (late > _GRACE_SECONDS and call.graces <= _MOST_GRACES)

    def _break(self, error: Exception, *, opens: bool = False) -> None:
        """Fail all calls, and end the connection that there may be."""
        self._failures += 1
        if self._demoted is not None and isinstance(error, ReadOnlyError):
            self._demoted()
        self._fail_all(error)
        for task in self._work:  # at once, or it would still write what comes next
            task.cancel()
        if (opens or self._failures >= _FAILURES) and not self.is_open:
            self._since = asyncio.get_running_loop().time()
            _log.warning(
                "Redis at %s is away, endpoints run without it: %s: %s",
                *(self._name, type(error).__name__, error),
                extra={"redis": self._name},
            )

    def _fail_all(self, error: Exception) -> None:
        calls = [*self._sent, *self._queue]
        self._sent.clear()
        self._queue.clear()
        for call in calls:
            call.fail(error)

    def _come_back(self) -> None:
        if self._since is None:
            return
        seconds = asyncio.get_running_loop().time() - self._since
        self._since, self._failures = None, 0
        _log.warning(
            "Redis at %s is back after %.1f s", self._name, seconds, extra={"redis": self._name}
        )

    async def _keep(self) -> None:
        """Keeps a connection until the lane is closed."""
        pause = _FIRST_PAUSE_SECONDS
        now = asyncio.get_running_loop().time
        while True:
            again = now() + pause
            try:
                connection = await self._connect_in_time()
            except Exception as error:
                self._break(error, opens=True)
                await self._seek_elsewhere()
                await asyncio.sleep(again - now())
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            pause = _FIRST_PAUSE_SECONDS
            self._come_back()
            await self._serve(connection)

    async def _seek_elsewhere(self) -> None:
        if self._seek is not None:
            with suppress(Exception):  # a cluster client fails in ways of its own
                await asyncio.wait_for(self._seek(), _SEEK_SECONDS)

    async def _connect_in_time(self) -> Connection:
        connecting = asyncio.ensure_future(self._connect())
        try:
            await asyncio.wait((connecting,), timeout=self._deadline + _GRACE_SECONDS)
            if not connecting.done():
                self._break(TimeoutError("no connection in time"), opens=True)
            return await connecting
        except BaseException:
            # also one that was made in the very moment in which nobody wanted it any more
            connecting.cancel()
            (made,) = await asyncio.gather(connecting, return_exceptions=True)
            if not isinstance(made, BaseException):
                await _drop(made)
            raise

    async def _connect(self) -> Connection:
        connection = self._make()
        now = asyncio.get_running_loop().time
        try:
            async with timeout_at(now() + max(_CONNECT_SECONDS, self._deadline)):
                await connection.connect()
            async with timeout_at(now() + self._deadline + _GRACE_SECONDS):
                await exchange(connection, (self._trial,))
        except BaseException:
            await _drop(connection)
            raise
        return connection

    async def _send_alone(self, commands: Sequence[Command], until: float | None) -> list[Any]:
        """Replies to what is sent after the end, over a connection of its own."""
        latest = asyncio.get_running_loop().time() + max(_CONNECT_SECONDS, self._deadline)
        async with timeout_at(latest if until is None else min(until, latest)):
            connection = await self._connect()
            try:
                return await exchange(connection, commands)
            finally:
                await _drop(connection)

    async def _serve(self, connection: Connection) -> None:
        """Writes and reads until the connection breaks or is given up."""
        parts = (self._read(connection), self._write(connection), self._prove())
        work = self._work = [asyncio.get_running_loop().create_task(part) for part in parts]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._work = []
            for task in work:
                task.cancel()
            ends = await asyncio.gather(*work, return_exceptions=True)
            await _drop(connection)
        for error in ends:
            if isinstance(error, Exception):
                self._lose(error)

    async def _prove(self) -> None:
        """Has a server that is read from take a write; a replica's refusal ends the connection."""
        while True:
            await asyncio.sleep(_PROOF_SECONDS)
            if self._looked:
                self._looked = False
                with suppress(CacheUnavailableError):
                    await self.send(
                        (self._trial,), asyncio.get_running_loop().time() + self._deadline
                    )

    def _lose(self, error: Exception) -> None:
        """The server ended the connection, or refused a write as a replica does."""
        demoted = isinstance(error, ReadOnlyError)
        if demoted or self._sent or self._queue:
            self._break(error, opens=demoted)

    async def _write(self, connection: Connection) -> None:
        while True:
            if not self._queue:
                self._idle = asyncio.get_running_loop().create_future()
                await self._idle
            queue, self._queue = self._queue, []
            calls = list(batched(queue, spread=self._spread))
            if not calls:
                continue
            self._sent.extend(calls)
            packed = [call.packed() for call in calls]
            await connection.send_packed_command(packed, check_health=False)

    async def _read(self, connection: Connection) -> None:
        while True:
            reply = await read_reply(connection)
            if not self._sent:
                raise ConnectionError("a reply to nothing")
            call = self._sent[0]
            call.replies.append(reply)
            self._failures = 0
            if call.is_answered:
                self._sent.popleft()
                call.land()


async def _drop(connection: Connection) -> None:
    with suppress(Exception):
        await connection.disconnect(nowait=True)
