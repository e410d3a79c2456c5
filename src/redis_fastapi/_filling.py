"""What becomes of an endpoint's answer to a cached GET: told of the cache, and stored if it may be.

An answer with its whole body is completed at once. One that is known only while it is sent (a
stream, a file, an error that was raised) is recorded on its way out.
"""

from __future__ import annotations

import asyncio

from starlette.responses import Response

from ._answers import own_copy
from ._entry import Entry
from ._fill import Fill
from ._http import Headers, Reason
from ._recording import Opening, Recorder, outlet_of, recorded
from ._storing import whole_body
from ._whole import complete


async def finish(fill: Fill, response: Response) -> Response:
    """The response to send; what is stored of it is stored by then, or while it is sent."""
    if fill.own_response:
        response = own_copy(response)
    body = whole_body(response)
    if body is not None:
        return await complete(fill, response, body)
    streams = hasattr(response, "body_iterator")
    return _recorded(fill, response, Recorder(_Recording(fill), waits=not streams))


def _recorded(fill: Fill, response: Response, recorder: Recorder) -> Response:
    cleanup = fill.scope.get("fastapi_inner_astack")
    if cleanup is not None:
        # a dependency that fails as it cleans up before the sending keeps it from being sent
        cleanup.push_async_callback(recorder.close)
    return recorded(response, recorder)


async def fail(fill: Fill, error: BaseException) -> None:
    """There is no response, unless the application makes one of an error that is stored."""
    outlet = outlet_of(fill.scope)
    if error is fill.error and outlet is not None:
        outlet.recorder = Recorder(_Recording(fill), waits=True)
    else:
        await fill.release(storable=True)


class _Recording:
    """Decides what becomes of an answer that is recorded."""

    def __init__(self, fill: Fill) -> None:
        self._fill = fill
        self._stored: asyncio.Future[bool] | None = None

    async def finish(self, response: Response) -> Response:
        """Complete what came in one piece."""
        return await complete(self._fill, response, bytes(response.body))

    async def opened(self, status: int, headers: Headers) -> Opening:
        """What to send of an answer whose body is still to come, and how much of it to keep."""
        refusal = self._fill.early_refusal(status, headers)
        if refusal is not None:
            told = self._fill.unstored(headers, refusal)
            await self._fill.make_way(refusal)
            return Opening(told, 0)
        limit = self._fill.context.settings.max_body_size if self._fill.lease else 0
        return Opening(self._fill.unfinished(status, headers), limit)

    def closed(self, status: int, headers: Headers, body: bytes) -> None:
        """Begin to store an answer whose last byte was sent."""
        entry = self._fill.entry(status, headers, body)
        if isinstance(entry, Entry):
            self._stored = self._fill.begin(entry)
        else:
            self._fill.refuse(entry)

    async def abandon(self, reason: Reason) -> None:
        """Give up: whoever waits leads next, or goes ahead where this answer cannot be stored."""
        if self._fill.lease is not None:
            self._fill.refuse(reason)
        await self._fill.release(storable=reason is not Reason.BODY_TOO_LARGE)

    async def settle(self) -> None:
        """Wait for the fill; without one, let the next caller go ahead."""
        if self._stored is not None:
            await asyncio.shield(self._stored)
        await self._fill.release(storable=False)
