"""Responses that become known only while they are sent: streams, files, and raised errors.

A recorder stands between the response and the server. It forwards every message immediately and
keeps a copy up to a limit. A response that comes in one piece is completed like any other instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from .._http import Headers, Reason, lower_names
from .responses import raw_response

OUTLET = "redis_fastapi_outlet"
"""Key in a scope of the `Outlet` of its response."""

_RECORDER = "redis_fastapi_recorder"


class RecordingHandler(Protocol):
    """Decides what becomes of a recorded response."""

    async def finish(self, response: Response) -> Response:
        """The response to send for one that is complete."""

    async def opened(self, status: int, headers: Headers) -> Opening:
        """How to send a response whose body is still to come."""

    def closed(self, status: int, headers: Headers, body: bytes) -> None:
        """Called with the whole response once its last byte was sent."""

    async def abandon(self, reason: Reason) -> None:
        """Called with the reason if the response cannot be stored."""

    async def settle(self) -> None:
        """Wait for what `closed` began."""


class Opening(NamedTuple):
    """How to send a response whose body is still to come.

    Attributes:
        headers: The fields to send.
        limit: Maximum bytes of the body to keep; 0 keeps nothing.
    """

    headers: list[tuple[bytes, bytes]]
    limit: int


class Recorder:
    """Forwards one response, and reports it to its handler.

    Args:
        handler: Receives the response.
        waits: Whether to hold the head until the first piece of the body, which may be the last.
    """

    def __init__(self, handler: RecordingHandler, *, waits: bool) -> None:
        self._handler = handler
        self._waits = waits
        self._start: Message | None = None
        self._status = 0
        self._headers: Headers = ()
        self._limit = 0
        self._kept: list[bytes] = []
        self._size = 0
        self._ended = False

    async def pass_on(self, message: Message, send: Send) -> None:
        """Send one message of the response."""
        if message["type"] == "http.response.start":
            await self._begin(message, send)
        elif message["type"] == "http.response.body":
            await self._pass_piece(message, send)
        else:
            # content that this process does not see, such as a file that the server will send
            await self._open(send)
            await self._drop(Reason.UNFINISHED)
            await send(message)

    async def _begin(self, start: Message, send: Send) -> None:
        self._start, self._status = start, start["status"]
        self._headers = lower_names(start["headers"])
        if not self._waits:
            await self._open(send)

    async def _pass_piece(self, message: Message, send: Send) -> None:
        last = not message.get("more_body", False)
        if last and self._start is not None:
            await self._send_whole(message.get("body", b""), send)
            return
        await self._open(send)
        await self._keep(message.get("body", b""))
        await send(message)
        if last and not self._ended:
            self._ended = True
            self._handler.closed(self._status, self._headers, b"".join(self._kept))

    async def _send_whole(self, body: bytes, send: Send) -> None:
        self._start, self._ended = None, True
        response = await self._handler.finish(raw_response(self._status, self._headers, body))
        head = {"status": response.status_code, "headers": response.raw_headers}
        await send({"type": "http.response.start", **head})
        await send({"type": "http.response.body", "body": response.body})
        if response.background is not None:
            await response.background()

    async def _open(self, send: Send) -> None:
        start, self._start = self._start, None
        if start is None:
            return
        headers, self._limit = await self._handler.opened(self._status, self._headers)
        self._ended = not self._limit
        await send({**start, "headers": headers})

    async def _keep(self, piece: bytes) -> None:
        if self._ended:
            return
        self._size += len(piece)
        if self._size > self._limit:
            await self._drop(Reason.BODY_TOO_LARGE)
        else:
            self._kept.append(bytes(piece))

    async def _drop(self, reason: Reason) -> None:
        if not self._ended:
            self._ended = True
            self._kept.clear()
            await self._handler.abandon(reason)

    async def close(self) -> None:
        """End; a response whose last byte has not been sent by now is not stored."""
        await self._drop(Reason.UNFINISHED)
        await self._handler.settle()


class Outlet:
    """Where the messages of one response leave; a recorder may be inserted."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.recorder: Recorder | None = None

    async def send(self, message: Message) -> None:
        if self.recorder is None:
            await self._send(message)
        else:
            await self.recorder.pass_on(message, self._send)

    async def close(self) -> None:
        """Stop recording."""
        recorder, self.recorder = self.recorder, None
        if recorder is not None:
            await recorder.close()


@asynccontextmanager
async def with_outlet(scope: Scope, send: Send) -> AsyncIterator[Send]:
    """Give a request an outlet; yields the `send` that leads there."""
    outlet = scope[OUTLET] = Outlet(send)
    try:
        yield outlet.send
    finally:
        await outlet.close()


def as_get(scope: Scope, send: Send) -> tuple[Scope, Send]:
    """A HEAD request as the GET whose head is requested (RFC 9110 section 9.3.2).

    Ranges are of GET alone (section 14.2), and what a server could send by itself has a body.
    """
    headers = [pair for pair in scope["headers"] if pair[0] not in (b"range", b"if-range")]

    async def send_head(message: Message) -> None:
        body = message["type"] == "http.response.body"
        await send({**message, "body": b""} if body else message)

    return {**scope, "method": "GET", "headers": headers, "extensions": {}}, send_head


def outlet_of(scope: Scope) -> Outlet | None:
    """The outlet of a request, if its route has given it one."""
    outlet: Outlet | None = scope.get(OUTLET)
    return outlet


def recorded(response: Response, recorder: Recorder) -> Response:
    """The same response, whose messages pass a recorder; all of its attributes stay."""
    kind: Any = type(response)
    response.__class__ = _recorded_class(kind)
    setattr(response, _RECORDER, recorder)
    return response


@lru_cache(maxsize=64)
def _recorded_class(kind: type[Response]) -> type[Response]:
    async def send_through_recorder(
        self: Response, scope: Scope, receive: Receive, send: Send
    ) -> None:
        recorder: Recorder = getattr(self, _RECORDER)

        async def send_and_record(message: Message) -> None:
            await recorder.pass_on(message, send)

        try:
            await kind.__call__(self, scope, receive, send_and_record)
        finally:
            await recorder.close()

    members: dict[str, Any] = {"__call__": send_through_recorder, "__module__": kind.__module__}
    return type(kind.__name__, (kind,), members)
