"""Completes the endpoint's response to a cached GET, and stores it while it is sent.

A response with its whole body is completed here. One that becomes known only as it is sent passes a
recorder (`recording.py`).
"""

from __future__ import annotations

import asyncio

from starlette.background import BackgroundTask
from starlette.responses import Response

from .._http import Headers, Reason
from .._redis.entry import Entry
from .._redis.keys import Target
from .entry_builder import whole_body
from .fill import Fill
from .recording import Opening, Recorder, outlet_of, recorded
from .responses import conditional_response, own_copy, set_entry_headers


async def finish(fill: Fill, response: Response) -> Response:
    """The response to send; it is stored by then, or while it is sent."""
    if fill.own_response:
        response = own_copy(response)
    body = whole_body(response)
    if body is not None:
        return await _complete(fill, response, body)
    streams = hasattr(response, "body_iterator")
    return _recorded(fill, response, Recorder(_Recording(fill), waits=not streams))


def _recorded(fill: Fill, response: Response, recorder: Recorder) -> Response:
    cleanup = fill.scope.get("fastapi_inner_astack")
    if cleanup is not None:
        # if a dependency fails during cleanup, before sending, the response is never sent
        cleanup.push_async_callback(recorder.close)
    return recorded(response, recorder)


async def fail(fill: Fill, error: BaseException) -> None:
    """Release the lease, unless the response to this error is to be recorded and stored."""
    outlet = outlet_of(fill.scope)
    if error is fill.error and outlet is not None:
        outlet.recorder = Recorder(_Recording(fill), waits=True)
    else:
        await fill.release(storable=True)


async def _complete(fill: Fill, response: Response, body: bytes) -> Response:
    """Add the fields for lifetime and cache status, and store the response if it may be."""
    now_ms = fill.context.now_ms()
    entry = fill.entry(response.status_code, response.raw_headers, body, now_ms)
    if isinstance(entry, Reason):
        response.raw_headers[:] = fill.unstored(response.raw_headers, entry)
        await fill.let_others_compute(entry)
        return response
    set_entry_headers(response, entry, fill.injected)
    response.raw_headers += fill.stored_fields(entry, now_ms)
    response = conditional_response(fill.scope, response, now_ms=now_ms)
    await _store(fill, entry, response, now_ms)
    return response


async def _store(fill: Fill, entry: Entry, response: Response, now_ms: int) -> None:
    """Begin the fill, so that it overlaps with sending."""
    lease, filling = fill.lease, fill.begin(entry, now_ms)
    if filling is None or lease is None:
        return
    _withdraw_if_unsent(fill, lease.target, filling)
    if fill.context.eager:
        await filling
    else:
        response.background = _AfterFill(response.background, filling)


def _withdraw_if_unsent(fill: Fill, target: Target, filling: asyncio.Future[bool]) -> None:
    """Evict the entry again if a dependency fails during cleanup, before sending."""
    engine, cleanup = fill.context.engine, fill.scope.get("fastapi_inner_astack")

    async def withdraw(kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Exception):
            await asyncio.shield(filling)
            await engine.evict((target.entry,), ())
        return False

    if cleanup is not None:
        cleanup.push_async_exit(withdraw)


class _AfterFill(BackgroundTask):
    """Runs the response's own background tasks, then waits for the fill to end."""

    def __init__(self, own: BackgroundTask | None, fill: asyncio.Future[bool]) -> None:
        self._own = own
        self._fill = fill

    async def __call__(self) -> None:
        if self._own is not None:
            await self._own()
        # a client that disconnects after the last byte must not cancel the fill
        await asyncio.shield(self._fill)


class _Recording:
    """Decides what becomes of a recorded response."""

    def __init__(self, fill: Fill) -> None:
        self._fill = fill
        self._stored: asyncio.Future[bool] | None = None

    async def finish(self, response: Response) -> Response:
        """Complete a response that came in one piece."""
        return await _complete(self._fill, response, bytes(response.body))

    async def opened(self, status: int, headers: Headers) -> Opening:
        """The head to send before the body is known, and how much of the body to keep."""
        refusal = self._fill.early_refusal(status, headers)
        if refusal is not None:
            fields = self._fill.unstored(headers, refusal)
            await self._fill.let_others_compute(refusal)
            return Opening(fields, 0)
        limit = self._fill.context.settings.max_body_size if self._fill.lease else 0
        return Opening(self._fill.unfinished(status, headers), limit)

    def closed(self, status: int, headers: Headers, body: bytes) -> None:
        """Start to store a response whose last byte was sent."""
        now_ms = self._fill.context.now_ms()
        entry = self._fill.entry(status, headers, body, now_ms)
        if isinstance(entry, Entry):
            self._stored = self._fill.begin(entry, now_ms)
        else:
            self._fill.refuse(entry)

    async def abandon(self, reason: Reason) -> None:
        """Give up: a waiting request leads next, or all proceed if responses cannot be stored."""
        if self._fill.lease is not None:
            self._fill.refuse(reason)
        await self._fill.release(storable=reason is not Reason.BODY_TOO_LARGE)

    async def settle(self) -> None:
        """Wait for the fill; without one, let waiting requests proceed."""
        if self._stored is not None:
            await asyncio.shield(self._stored)
        await self._fill.release(storable=False)
