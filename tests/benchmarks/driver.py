"""A minimal server: makes ASGI requests as uvicorn would, without a socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette

Header = tuple[bytes, bytes]

_HEADERS: tuple[Header, ...] = (
    (b"host", b"shop.example"),
    (b"user-agent", b"benchmark"),
    (b"accept", b"*/*"),
    (b"authorization", b"Bearer 1"),
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request; the headers that every client sends are added to its own."""

    method: str
    path: str
    headers: tuple[Header, ...] = ()
    body: bytes = b""


@dataclass(slots=True)
class Answer:
    """What the application sent."""

    status: int = 0
    headers: Sequence[Header] = ()
    body: list[bytes] = field(default_factory=list)

    def header(self, name: bytes) -> bytes | None:
        """Value of the first field of this name (lower case), or None."""
        return next((value for known, value in self.headers if known == name), None)


class TimedBody(list[bytes]):
    """The body of an answer; `arrived` is when its last part came, by the performance counter."""

    arrived = 0.0

    def append(self, part: bytes) -> None:
        """Take in the next part."""
        super().append(part)
        self.arrived = time.perf_counter()


class Server:
    """One application with its lifespan entered."""

    def __init__(self, app: Starlette, state: dict[str, Any]) -> None:
        self._app = app
        self._state = state

    async def send(self, request: Request, body: list[bytes] | None = None) -> Answer:
        """Send a request; returns when the application is done with it, background tasks too.

        Args:
            request: What is asked.
            body: Takes the parts of the answer's body as they come.
        """
        answer = Answer() if body is None else Answer(body=body)
        bodies = [request.body]

        async def receive() -> dict[str, Any]:
            if not bodies:
                await _never()
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status, answer.headers = message["status"], message["headers"]
            else:
                answer.body.append(message.get("body", b""))

        await self._app(self._scope(request), receive, send)
        return answer

    def _scope(self, request: Request) -> dict[str, Any]:
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": request.method,
            "scheme": "http",
            "path": request.path,
            "raw_path": request.path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [*_HEADERS, *request.headers],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 80),
            "state": self._state.copy(),
        }


async def _never() -> None:
    """Wait like a server whose client stays connected and says nothing more."""
    await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[Server]:
    """Start the application and shut it down."""
    async with app.router.lifespan_context(app) as state:
        yield Server(app, dict(state or {}))
