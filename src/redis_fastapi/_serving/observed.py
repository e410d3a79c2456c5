"""Reads, writes and store operations that report to listeners.

They replace their base classes if there are listeners; without any, none of this runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from .._engine.engine import Outcome
from .._http import Reason
from .._policy.policy import ReadPolicy, Values, WritePolicy
from .._redis.keys import Target
from .._redis.store import Acquired, Claim, Snapshot, Store
from .._routes.targets import Evicted as Names
from ..telemetry import Answered, Evicted, Exchanged, Telemetry
from .context import Context
from .reading import Reading
from .shortcut import Destination
from .writing import Writing


class ObservedReading(Reading):
    """One GET, reported to listeners when its response is known."""

    def __init__(
        self, policy: ReadPolicy, context: Context, scope: Scope, telemetry: Telemetry
    ) -> None:
        super().__init__(policy, context, scope)
        self._route = _route_of(policy.label)
        self._telemetry = telemetry
        self._started_ns = 0
        self._seconds = 0.0

    async def before_dependencies(
        self, destination: Destination, found: Outcome | None
    ) -> Response | None:
        response = await self._timed(super().before_dependencies(destination, found))
        if response is not None:
            self._emit_response(response)
        return response

    async def before_endpoint(
        self, values: Values, request: Request, injected: Response, destination: Destination | None
    ) -> Response | None:
        return await self._timed(super().before_endpoint(values, request, injected, destination))

    async def _timed(self, look_up: Awaitable[Response | None]) -> Response | None:
        telemetry = self._telemetry
        self._started_ns, begun = self._started_ns or telemetry.now_ns(), telemetry.timer()
        try:
            return await look_up
        finally:
            self._seconds += telemetry.timer() - begun

    async def finish(self, response: Response) -> Response:
        response = await super().finish(response)
        self._emit_response(response)
        return response

    async def failed(self, error: BaseException) -> Response | None:
        stand_in = await super().failed(error)
        if stand_in is not None:
            self._emit_response(stand_in)
        # a dependency that refuses the request comes before any lookup
        elif self._started_ns:
            self._emit(Reason.FAILED, 0)
        return stand_in

    def _emit_response(self, response: Response) -> None:
        body = getattr(response, "body", None)
        self._emit(self.cache_status.reason, len(body) if isinstance(body, bytes) else 0)

    def _emit(self, reason: Reason | None, body_bytes: int) -> None:
        status = self.cache_status
        self._telemetry.emit(
            Answered(
                route=self._route,
                state=status.state.decode() if status.state else None,
                reason=reason.value if reason else None,
                body_bytes=body_bytes,
                started_ns=self._started_ns,
                lookup_seconds=self._seconds,
                waited=status.collapsed,
                local=status.local,
            )
        )


class ObservedWriting(Writing):
    """One write, whose evictions are reported to listeners."""

    def __init__(self, policy: WritePolicy, context: Context, telemetry: Telemetry) -> None:
        super().__init__(policy, context)
        self._route = _route_of(policy.label)
        self._telemetry = telemetry

    async def _evict(self) -> bool:
        names = self._due
        if names == Names():
            return await super()._evict()
        telemetry = self._telemetry
        started_ns, begun = telemetry.now_ns(), telemetry.timer()
        confirmed = await super()._evict()
        seconds = telemetry.timer() - begun
        number = sum(map(len, names))
        telemetry.emit(Evicted(self._route, number, confirmed, started_ns, seconds))
        return confirmed


class ObservedStore(Store):
    """A store whose exchanges with Redis are reported to listeners."""

    def __init__(self, client: Any, telemetry: Telemetry, **options: Any) -> None:
        super().__init__(client, **options)
        self._telemetry = telemetry

    async def read(self, target: Target, **options: Any) -> Snapshot:
        async with _Exchange(self._telemetry, "read") as exchange:
            snapshot = await super().read(target, **options)
            exchange.entry_bytes = len(snapshot.raw or b"")
        return snapshot

    async def acquire(self, claim: Claim) -> Acquired:
        async with _Exchange(self._telemetry, "acquire") as exchange:
            acquired = await super().acquire(claim)
            exchange.entry_bytes = len(acquired.snapshot.raw or b"")
        return acquired

    async def fill(self, target: Target, lease: bytes, payload: bytes, px: int | None) -> bool:
        async with _Exchange(self._telemetry, "fill") as exchange:
            stored = await super().fill(target, lease, payload, px)
            exchange.entry_bytes = len(payload) if stored else 0
        return stored

    async def evict(
        self, entries: Iterable[str], generations: Iterable[str], **options: Any
    ) -> None:
        async with _Exchange(self._telemetry, "evict"):
            await super().evict(entries, generations, **options)

    async def outdate(
        self, entries: Iterable[str], generations: Iterable[str], renewal: bytes, **options: Any
    ) -> bool:
        async with _Exchange(self._telemetry, "outdate"):
            return await super().outdate(entries, generations, renewal, **options)


class _Exchange:
    """Times one operation and reports how it ended."""

    __slots__ = ("_begun", "_operation", "_started_ns", "_telemetry", "entry_bytes")

    def __init__(self, telemetry: Telemetry, operation: str) -> None:
        self._telemetry = telemetry
        self._operation = operation
        self.entry_bytes = 0

    async def __aenter__(self) -> _Exchange:
        self._started_ns, self._begun = self._telemetry.now_ns(), self._telemetry.timer()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        seconds = self._telemetry.timer() - self._begun
        error = kind.__name__ if kind else None
        self._telemetry.emit(
            Exchanged(self._operation, self.entry_bytes, error, self._started_ns, seconds)
        )


def _route_of(label: str) -> str:
    """Method and path template of a route, from its label."""
    return label.rpartition(" (")[0]
