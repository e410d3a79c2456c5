"""Answers that are there with their whole body: completed, and stored while they are sent."""

from __future__ import annotations

import asyncio

from starlette.background import BackgroundTask
from starlette.responses import Response

from ._answers import announced, answered
from ._entry import Entry
from ._fill import Fill
from ._http import Reason
from ._keys import Target


async def complete(fill: Fill, response: Response, body: bytes) -> Response:
    """Announce lifetime and use of the cache, and store what may be stored."""
    entry = fill.entry(response.status_code, response.raw_headers, body)
    if isinstance(entry, Reason):
        response.raw_headers[:] = fill.unstored(response.raw_headers, entry)
        await fill.make_way(entry)
        return response
    announced(response, entry, fill.injected)
    response.raw_headers += fill.stored_fields(entry)
    response = answered(fill.scope, response, now_ms=fill.context.now_ms())
    await _store(fill, entry, response)
    return response


async def _store(fill: Fill, entry: Entry, response: Response) -> None:
    """Begin the fill, so that it overlaps with sending."""
    lease, filling = fill.lease, fill.begin(entry)
    if filling is None or lease is None:
        return
    _withdraw_if_unsent(fill, lease.target, filling)
    if fill.context.eager:
        await filling
    else:
        response.background = _AfterFill(response.background, filling)


def _withdraw_if_unsent(fill: Fill, target: Target, filling: asyncio.Future[bool]) -> None:
    """Evict again where a dependency fails as it cleans up before the sending."""
    engine, cleanup = fill.context.engine, fill.scope.get("fastapi_inner_astack")

    async def withdraw(kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Exception):
            await asyncio.shield(filling)
            await engine.evict((target.entry,), ())
        return False

    if cleanup is not None:
        cleanup.push_async_exit(withdraw)


class _AfterFill(BackgroundTask):
    """Runs the response's own tasks, then waits until the fill has ended."""

    def __init__(self, own: BackgroundTask | None, fill: asyncio.Future[bool]) -> None:
        self._own = own
        self._fill = fill

    async def __call__(self) -> None:
        if self._own is not None:
            await self._own()
        # a client that leaves with the last byte must not take the fill with it
        await asyncio.shield(self._fill)
