"""A connection on which a server reports every change of a key.

- Changes are heard from the moment the subscription is confirmed until any trouble with it.
- A connection that is silent is asked for a sign of life, and given up when it stays silent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, NoReturn, cast

from redis.exceptions import ConnectionError, ResponseError

from .transport import Command, Connection, exchange, timeout_at

_log = logging.getLogger("redis_fastapi")

_CHANNEL = b"__redis__:invalidate"

_CONNECT_SECONDS = 2.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


class Tracker:
    """One tracking connection, opened again whenever it breaks.

    Args:
        make: A new connection, not yet connected.
        prefixes: What the keys begin with whose changes are told.
        changed: Hears each key that changed, and None when all may have.
        turned: Hears that `hearing` has changed.
        silence: Seconds after which a sign of life is asked for.
        sleep: Waits that many seconds between two attempts.

    Attributes:
        hearing: Whether every change is told.
    """

    def __init__(
        self,
        make: Callable[[], Connection],
        *,
        prefixes: Iterable[bytes],
        changed: Callable[[bytes | None], None],
        turned: Callable[[], None],
        silence: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._make = make
        self._prefixes = tuple(prefixes)
        self._changed = changed
        self._turned = turned
        self._silence = silence
        self._sleep = sleep
        self._pause = _FIRST_PAUSE_SECONDS
        self.hearing = False

    async def run(self) -> ResponseError:
        """Receive changes until the server refuses, and return the reason."""
        while True:
            try:
                await self._hear(self._make())
            except ResponseError as refusal:
                return refusal
            except Exception as error:  # a connection fails in ways of its own
                _log.debug("the tracker reconnects: %r", error)
            await self._sleep(self._pause)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)

    async def _hear(self, connection: Connection) -> NoReturn:
        try:
            async with timeout_at(asyncio.get_running_loop().time() + _CONNECT_SECONDS):
                await connection.connect()
                await self._subscribe(connection)
            self._pause = _FIRST_PAUSE_SECONDS
            self._turn(True)
            while True:
                self._take(await self._next_message(connection))
        finally:
            self._turn(False)
            with suppress(Exception):
                await connection.disconnect(nowait=True)

    def _turn(self, hearing: bool) -> None:
        if hearing is not self.hearing:
            self.hearing = hearing
            self._turned()

    async def _subscribe(self, connection: Connection) -> None:
        (own_id,) = await _accepted(connection, ("CLIENT", "ID"))
        prefixes = (word for prefix in self._prefixes for word in ("PREFIX", prefix))
        await _accepted(
            connection,
            ("CLIENT", "TRACKING", "ON", "REDIRECT", own_id, "BCAST", *prefixes),
            ("SUBSCRIBE", _CHANNEL),
        )

    async def _next_message(self, connection: Connection) -> list[Any]:
        message = await connection.read_response(disable_decoding=True, timeout=self._silence)
        if message is None:
            ping = connection.pack_commands([("PING",)])
            await connection.send_packed_command(ping, check_health=False)
            message = await connection.read_response(disable_decoding=True, timeout=self._silence)
        if message is None:
            raise ConnectionError("silent")
        return cast("list[Any]", message)

    def _take(self, message: list[Any]) -> None:
        if message[0] != b"message":
            return
        for key in (None,) if message[2] is None else message[2]:
            self._changed(key)


async def _accepted(connection: Connection, *commands: tuple[str | bytes | int, ...]) -> list[Any]:
    """The replies to commands; raises the first error among them."""
    replies = await exchange(connection, [Command(command, b"") for command in commands])
    for reply in replies:
        if isinstance(reply, ResponseError):
            raise reply
    return replies
