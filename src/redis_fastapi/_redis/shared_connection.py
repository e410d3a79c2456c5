"""One pipelined connection to one server, shared by all requests, behind a circuit breaker.

- Calls are written in the order in which they were made, and replies are matched by that order.
  Only lookups made in one iteration of the event loop are merged; each key is read once.
- A call is sent at most once. If the connection breaks, all pending calls fail.
- A reply that misses its deadline breaks the connection, since all later replies would be late too.
  Delays of the event loop itself do not count against the server.
- The breaker opens if no connection can be made in time, after several late replies in a row, and
  if the server is not a primary. While it is open, calls fail immediately, and a background task
  reconnects; a connection is used once the server has accepted a write over it in time. While
  lookups use it, the server must accept a write every second, since a demoted primary would
  otherwise be read for ever.
- Commands sent after `aclose` go over a temporary connection: a write that its server cancels at
  shutdown sends its evictions only then.
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

from .._background import cancel
from ..exceptions import CacheUnavailableError
from .batching import Call, Lookup, MergedLookups, SingleLookup, batched
from .transport import (
    AwayError,
    Command,
    Connection,
    exchange,
    keyed,
    read_reply,
    timeout_at,
)

logger = logging.getLogger("redis_fastapi")

_GRACE_SECONDS = 0.005
_MOST_GRACES = 4
"""Grace periods granted to one call while the event loop itself is late."""

_FAILURES = 3
"""Consecutive late replies that open the breaker."""

_CONNECT_SECONDS = 1.0
_REDISCOVER_SECONDS = 0.5
_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 1.0
"""Between attempts to connect; short enough that a recovery is noticed within two seconds."""

_PRIMARY_CHECK_SECONDS = 1.0
"""Between checks that the server is still a primary, while lookups are sent to it."""

_MOST_WAITING = 10_000
"""Calls that may wait to be written; further ones are refused."""


class SharedConnection:
    """The shared connection to one server.

    Args:
        make: Returns a new connection that is not yet connected.
        prefix: First part of every key.
        name: The server in log lines.
        deadline: Seconds within which a reachable server replies.
        spread: Whether keys are spread over the slots of a cluster, so that MGET cannot read them.
        rediscover: Called after a failed attempt to connect, to find another server.
        demoted: Called if the server is no longer a primary.
    """

    def __init__(
        self,
        make: Callable[[], Connection],
        *,
        prefix: str,
        name: str,
        deadline: float,
        spread: bool = False,
        rediscover: Callable[[], Awaitable[object]] | None = None,
        demoted: Callable[[], None] | None = None,
    ) -> None:
        self._make = make
        # a write that replicas refuse, and that primaries accept even if out of memory
        self._trial_write = keyed("DEL", f"{prefix}:trial".encode())
        self._name = name
        self._deadline = deadline
        self._spread = spread
        self._rediscover = rediscover
        self._demoted = demoted
        self._loop: asyncio.AbstractEventLoop | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._queue: list[Call | Lookup] = []
        self._sent: deque[Call | SingleLookup | MergedLookups] = deque()
        self._idle: asyncio.Future[None] | None = None
        self._work: list[asyncio.Task[None]] = []
        self._failures = 0
        self._since: float | None = None
        self._has_read = False
        self._closed = False
        self._has_warned_of_loop = False

    @property
    def is_away(self) -> bool:
        """Whether the breaker is open, so that calls fail immediately."""
        return self._since is not None

    def get_many(self, keys: Sequence[bytes], until: float | None) -> asyncio.Future[list[Any]]:
        """The values of keys, None for missing ones; if `spread` also error replies.

        Args:
            keys: The keys to read.
            until: Deadline in the event loop's time; None means no deadline.

        Raises:
            CacheUnavailableError: If the breaker is open, this is closed or its queue is full. The
                future raises it if the connection breaks or the reply misses the deadline.
        """
        future = self._begin()
        self._has_read = True
        self._enqueue(Lookup(keys, future, inf if until is None else until))
        return future

    def send(self, commands: Sequence[Command], until: float | None) -> asyncio.Future[list[Any]]:
        """The replies in order, error replies as ResponseError instances; raises like `get_many`.

        Args:
            commands: Sent in this order.
            until: Deadline in the event loop's time; None means no deadline.
        """
        if self._closed and not self.is_away:
            return asyncio.ensure_future(self._send_after_close(commands, until))
        future = self._begin()
        packed = [command.args for command in commands]
        if not packed:  # without a reply of its own, it would block the calls behind it
            future.set_result([])
            return future
        self._enqueue(Call(packed, future, inf if until is None else until))
        return future

    def raise_if_away(self) -> None:
        """Raise AwayError while the breaker is open."""
        if self.is_away:
            raise AwayError(f"Redis at {self._name} is away")

    async def aclose(self) -> None:
        """Close the connection and fail pending calls; later lookups fail."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            await cancel(keeper)
        self._fail_all(ConnectionError("closed"))

    def _begin(self) -> asyncio.Future[list[Any]]:
        if self._since is not None:
            self.raise_if_away()
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
        # in an empty context, since the task outlives the request that starts it
        self._keeper = Context().run(loop.create_task, self._stay_connected())

    def _refuse_other_loop(self) -> NoReturn:
        if not self._has_warned_of_loop:
            self._has_warned_of_loop = True
            logger.warning(
                "Redis at %s: the application runs on another event loop than it started on, "
                "and bypasses the cache there. Use it on the loop of its lifespan",
                self._name,
                extra={"redis": self._name},
            )
        raise CacheUnavailableError("the connection belongs to another event loop")

    def _enqueue(self, call: Call | Lookup) -> None:
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)
        self._queue.append(call)
        if call.until < inf and (self._timer is None or call.until < self._timer.when()):
            self._check_at(call.until)

    def _check_at(self, when: float) -> None:
        assert self._loop is not None
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._check_deadlines, when)

    def _check_deadlines(self, due: float) -> None:
        self._timer = None
        oldest = min(self._pending(), key=lambda call: call.until, default=None)
        if oldest is None or oldest.until == inf:
            return
        assert self._loop is not None
        now = self._loop.time()
        if oldest.until > now:
            self._check_at(oldest.until)
        elif self._deserves_grace(oldest, late=now - due):
            self._check_at(now + _GRACE_SECONDS)
        else:
            self._break(TimeoutError("no reply in time"))

    def _pending(self) -> Iterator[Call | Lookup | SingleLookup | MergedLookups]:
        return (call for call in chain(self._sent, self._queue) if call.is_pending)

    def _deserves_grace(
        self, call: Call | Lookup | SingleLookup | MergedLookups, *, late: float
    ) -> bool:
        """Whether the reply may have arrived without the event loop having read it yet."""
        if isinstance(call, Lookup):  # not written yet
            return late > _GRACE_SECONDS
        call.graces += 1
        return call.graces == 1 or (late > _GRACE_SECONDS and call.graces <= _MOST_GRACES)

    def _break(self, error: Exception, *, opens: bool = False) -> None:
        """Fail all pending calls and end the connection, if there is one."""
        self._failures += 1
        if self._demoted is not None and isinstance(error, ReadOnlyError):
            self._demoted()
        self._fail_all(error)
        for task in self._work:  # immediately, or it would still write the next calls
            task.cancel()
        if (opens or self._failures >= _FAILURES) and not self.is_away:
            self._since = asyncio.get_running_loop().time()
            logger.warning(
                "Redis at %s is away, endpoints run without it: %s: %s",
                self._name,
                type(error).__name__,
                error,
                extra={"redis": self._name},
            )

    def _fail_all(self, error: Exception) -> None:
        calls = [*self._sent, *self._queue]
        self._sent.clear()
        self._queue.clear()
        for call in calls:
            call.fail(error)

    def _close_breaker(self) -> None:
        if self._since is None:
            return
        seconds = asyncio.get_running_loop().time() - self._since
        self._since, self._failures = None, 0
        logger.warning(
            "Redis at %s is back after %.1f s", self._name, seconds, extra={"redis": self._name}
        )

    async def _stay_connected(self) -> None:
        """Connect, and reconnect after failures, until closed."""
        pause = _FIRST_PAUSE_SECONDS
        now = asyncio.get_running_loop().time
        while True:
            again = now() + pause
            try:
                connection = await self._connect_in_time()
            except Exception as error:
                self._break(error, opens=True)
                await self._find_another_server()
                await asyncio.sleep(again - now())
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                continue
            pause = _FIRST_PAUSE_SECONDS
            self._close_breaker()
            await self._serve(connection)

    async def _find_another_server(self) -> None:
        if self._rediscover is not None:
            with suppress(Exception):  # cluster clients raise errors of any type
                await asyncio.wait_for(self._rediscover(), _REDISCOVER_SECONDS)

    async def _connect_in_time(self) -> Connection:
        connecting = asyncio.ensure_future(self._connect())
        try:
            await asyncio.wait((connecting,), timeout=self._deadline + _GRACE_SECONDS)
            if not connecting.done():
                self._break(TimeoutError("no connection in time"), opens=True)
            return await connecting
        except BaseException:
            # also drop a connection that was completed at the moment of cancellation
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
                await exchange(connection, (self._trial_write,))
        except BaseException:
            await _drop(connection)
            raise
        return connection

    async def _send_after_close(
        self, commands: Sequence[Command], until: float | None
    ) -> list[Any]:
        """The replies to commands sent after `aclose`, over a temporary connection."""
        latest = asyncio.get_running_loop().time() + max(_CONNECT_SECONDS, self._deadline)
        async with timeout_at(latest if until is None else min(until, latest)):
            connection = await self._connect()
            try:
                return await exchange(connection, commands)
            finally:
                await _drop(connection)

    async def _serve(self, connection: Connection) -> None:
        """Write and read until the connection breaks or is abandoned."""
        parts = (self._read(connection), self._write(connection), self._check_primary())
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
                self._handle_loss(error)

    async def _check_primary(self) -> None:
        """Send a write every second in which lookups were made; a replica's refusal ends `_serve`.

        A call that is late breaks the connection as any other does.
        """
        while True:
            await asyncio.sleep(_PRIMARY_CHECK_SECONDS)
            if self._has_read:
                self._has_read = False
                with suppress(CacheUnavailableError):
                    await self.send(
                        (self._trial_write,), asyncio.get_running_loop().time() + self._deadline
                    )

    def _handle_loss(self, error: Exception) -> None:
        """Fail pending calls; the server ended the connection, or refused a write as a replica.

        Losing an idle connection is no failure.
        """
        demoted = isinstance(error, ReadOnlyError)
        if demoted or self._sent or self._queue:
            self._break(error, opens=demoted)

    async def _write(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._queue:
                self._idle = loop.create_future()
                await self._idle
            queue, self._queue = self._queue, []
            calls = batched(queue, spread=self._spread)
            if not calls:
                continue
            self._sent.extend(calls)
            packed = [call.packed() for call in calls]
            await connection.send_packed_command(packed, check_health=False)

    async def _read(self, connection: Connection) -> None:
        while True:
            reply = await read_reply(connection)
            if not self._sent:
                raise ConnectionError("unexpected reply")
            self._failures = 0
            if self._sent[0].take(reply):
                self._sent.popleft()


async def _drop(connection: Connection) -> None:
    with suppress(Exception):
        await connection.disconnect(nowait=True)
