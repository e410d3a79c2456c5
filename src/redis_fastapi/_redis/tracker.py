"""A connection on which a server reports every change of a key.

- Changes are received from the confirmation of the subscription until anything goes wrong with it.
- A silent connection is sent a PING, and given up if it stays silent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, NoReturn, cast

from redis.exceptions import ConnectionError, ResponseError

from .transport import Command, Connection, exchange, timeout_at

logger = logging.getLogger("redis_fastapi")

_CHANNEL = b"__redis__:invalidate"

_CONNECT_SECONDS = 2.0
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


class Tracker:
    """One tracking connection, opened again whenever it breaks.

    Args:
        make: Returns a new connection that is not yet connected.
        prefixes: Prefixes of the keys whose changes are reported.
        changed: Called with each key that changed, and with None if any may have.
        switched: Called when `is_tracking` has changed.
        silence: Seconds without a message after which a PING is sent.
        sleep: Sleeps that many seconds between two attempts.

    Attributes:
        is_tracking: Whether every change is being reported.
    """

    def __init__(
        self,
        make: Callable[[], Connection],
        *,
        prefixes: Iterable[bytes],
        changed: Callable[[bytes | None], None],
        switched: Callable[[], None],
        silence: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._make = make
        self._prefixes = tuple(prefixes)
        self._changed = changed
        self._switched = switched
        self._silence = silence
        self._sleep = sleep
        self._pause = _FIRST_PAUSE_SECONDS
        self.is_tracking = False

    async def run(self) -> ResponseError:
        """Receive changes until the server refuses, and return the reason."""
        while True:
            try:
                await self._receive(self._make())
            except ResponseError as refusal:
                return refusal
            except Exception as error:  # a connection fails in ways of its own
                logger.debug("the tracker reconnects: %r", error)
            await self._sleep(self._pause)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)

    async def _receive(self, connection: Connection) -> NoReturn:
        try:
            async with timeout_at(asyncio.get_running_loop().time() + _CONNECT_SECONDS):
                await connection.connect()
                await self._subscribe(connection)
            self._pause = _FIRST_PAUSE_SECONDS
            self._switch(True)
            while True:
                self._take(await self._next_message(connection))
        finally:
            self._switch(False)
            with suppress(Exception):
                await connection.disconnect(nowait=True)

    def _switch(self, is_tracking: bool) -> None:
        if is_tracking is not self.is_tracking:
            self.is_tracking = is_tracking
            self._switched()

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
