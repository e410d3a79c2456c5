"""What becomes of an endpoint's answer to a cached GET: told of the cache, and stored if it may be.

An answer with its whole body is completed here. One that is known only while it is sent (a stream,
a file, an error that was raised) is recorded on its way out.
"""

from __future__ import annotations

import asyncio
from copy import copy
from typing import Any

from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ._answers import OWN_RESPONSE, announced, answered, unstored_headers, without
from ._context import Context
from ._entry import Entry
from ._http import Headers, Reason, announced_length, is_event_stream
from ._keys import Target
from ._leases import Lease
from ._policy import ReadPolicy
from ._recording import Opening, Recorder, outlet_of, recorded
from ._storing import Storing, whole_body
from ._use import Use
from ._variants import selection


class Filling:
    """One run of the endpoint, from its result to the fill.

    Args:
        policy: Of the route.
        context: Of the application.
        request: That runs the endpoint.
        use: What is told of the cache's part.
        injected: Fields that dependencies have set.
        groups: Names of the entry's groups, where they are told.
        lease: The right to fill; None where nothing will be stored.
    """

    def __init__(
        self,
        policy: ReadPolicy,
        context: Context,
        request: Request,
        use: Use,
        *,
        injected: Headers,
        groups: tuple[str, ...],
        lease: Lease | None,
    ) -> None:
        self._policy = policy
        self._context = context
        self._request = request
        self._use = use
        self._injected = injected
        self._lease = lease
        ttl_ms = context.ttl_ms(policy.ttl, jitter=policy.staleness.jitter)
        self._storing = Storing(policy, context.settings, ttl_ms, groups, varies=True)
        self._own_response = False
        self._refusal: Reason | None = None
        self._raised: BaseException | None = None
        self._filled: asyncio.Future[bool] | None = None
        self._began_ms = context.now_ms()
        self._cost_ms = 0

    def ran(self, result: Any) -> None:
        """Hear what the endpoint returned, before it is serialized."""
        self._cost_ms = max(0, self._context.now_ms() - self._began_ms)
        if isinstance(result, Response):
            self._take_as_built()
        when = self._policy.when
        try:
            wanted = when is None or bool(when(result))
        except Exception as error:  # the author's predicate may raise anything
            wanted = False
            self._context.warn_once(self._policy.label, "when= raised", error)
        if not wanted:
            self._refusal = Reason.WHEN

    def raised(self, error: Exception) -> None:
        """Hear what the endpoint itself raised; what dependencies raise does not come here."""
        if isinstance(error, HTTPException) and error.status_code in self._policy.statuses:
            self._raised = error
            self._take_as_built()

    def _take_as_built(self) -> None:
        """FastAPI adds nothing of what dependencies set, now or when it is replayed."""
        self._own_response = True
        self._injected = ()

    async def failed(self, error: BaseException) -> None:
        """There is no response, unless the application makes one of an error that is stored."""
        outlet = outlet_of(self._request.scope)
        if error is self._raised and outlet is not None:
            outlet.recorder = Recorder(self, waits=True)
        else:
            await self.abandon(None)

    async def finish(self, response: Response) -> Response:
        """Announce lifetime and use of the cache, and store what may be stored."""
        if self._own_response:
            # an endpoint may return one object again and again
            response = copy(response)
        body = whole_body(response)
        if body is None:
            streams = hasattr(response, "body_iterator")
            return self._recorded(response, Recorder(self, waits=not streams))
        entry = self._entry(response.status_code, response.raw_headers, body)
        if isinstance(entry, Entry):
            announced(response, entry, self._injected)
        else:
            response.raw_headers = unstored_headers(self._policy, response.raw_headers)
        self._tell(response.raw_headers, entry)
        if isinstance(entry, Entry):
            now_ms = self._context.now_ms()
            response = answered(self._request.scope, response, now_ms=now_ms)
        await self._end(entry, response)
        return response

    def _recorded(self, response: Response, recorder: Recorder) -> Response:
        cleanup = self._request.scope.get("fastapi_inner_astack")
        if cleanup is not None:
            # a dependency that fails as it cleans up before the sending keeps it from being sent
            cleanup.push_async_callback(recorder.close)
        return recorded(response, recorder)

    def _entry(self, status: int, headers: Headers, body: bytes) -> Entry | Reason:
        """What to store, or why it may not be stored."""
        if self._refusal is not None:
            return self._refusal
        own, now_ms = without(headers, self._injected), self._context.now_ms()
        entry = self._storing.entry(status, headers, body, own=own, now_ms=now_ms)
        if not isinstance(entry, Entry):
            return entry
        built = (OWN_RESPONSE,) if self._own_response else ()
        selected = selection(headers, self._policy.keyed_headers, self._request.scope["headers"])
        fields = (*built, *entry.headers, *selected)
        return entry._replace(headers=fields, cost_ms=self._cost_ms)

    def _tell(self, headers: list[tuple[bytes, bytes]], found: Entry | Reason) -> None:
        """Add what is told of the cache's part."""
        if isinstance(found, Reason):
            self._refuse(found)
        else:
            self._use.stored = self._lease is not None
        if self._use.stored and isinstance(found, Entry) and found.fresh_ms:
            left_ms = found.created_ms + found.fresh_ms - self._context.now_ms()
            self._use.ttl = -(-left_ms // 1000)
        headers += self._use.fields(debug=self._context.settings.debug)

    def _refuse(self, reason: Reason) -> None:
        self._use.reason = self._use.reason or reason
        if reason is not Reason.WHEN:
            self._context.not_stored(self._policy.label, reason)

    async def _end(self, entry: Entry | Reason, response: Response) -> None:
        """Begin the fill, so that it overlaps with sending, or let the next caller go ahead."""
        if isinstance(entry, Reason):
            await self._make_way(entry)
            return
        lease = self._lease
        filling = self._fill(entry)
        if filling is None or lease is None:
            return
        self._withdraw_if_unsent(lease.target, filling)
        if self._context.eager:
            await filling
        else:
            response.background = _AfterFill(response.background, filling)

    def _fill(self, entry: Entry) -> asyncio.Future[bool] | None:
        lease, self._lease = self._lease, None
        if lease is None:
            return None
        kept_ms = entry.kept_ms(self._context.now_ms())
        return asyncio.ensure_future(lease.fill(entry, kept_ms))

    def _withdraw_if_unsent(self, target: Target, filling: asyncio.Future[bool]) -> None:
        """Evict again where a dependency fails as it cleans up before the sending."""
        engine, cleanup = self._context.engine, self._request.scope.get("fastapi_inner_astack")

        async def withdraw(kind: object, error: BaseException | None, trace: object) -> bool:
            if isinstance(error, Exception):
                await asyncio.shield(filling)
                await engine.evict((target.entry,), ())
            return False

        if cleanup is not None:
            cleanup.push_async_exit(withdraw)

    async def _make_way(self, reason: Reason) -> None:
        """Let others compute beside each other, unless the next client may ask for the whole."""
        await self._release(storable=reason is Reason.PARTIAL_CONTENT)

    async def _release(self, *, storable: bool) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            await lease.release(storable=storable)

    # -- an answer that is recorded

    async def opened(self, status: int, headers: Headers) -> Opening:
        """What to send of an answer whose body is still to come, and how much of it to keep."""
        refusal = self._refusal or self._early_refusal(status, headers)
        if refusal is None:
            told = self._described(status, headers)
            told += self._use.fields(debug=self._context.settings.debug)
            return Opening(told, self._context.settings.max_body_size if self._lease else 0)
        told = unstored_headers(self._policy, headers)
        self._tell(told, refusal)
        await self._make_way(refusal)
        return Opening(told, 0)

    def _early_refusal(self, status: int, headers: Headers) -> Reason | None:
        if is_event_stream(headers):
            return Reason.UNFINISHED
        size, now_ms = announced_length(headers) or 0, self._context.now_ms()
        return self._storing.refusal(status, headers, size=size, now_ms=now_ms)

    def _described(self, status: int, headers: Headers) -> list[tuple[bytes, bytes]]:
        lifetime_ms = self._storing.lifetime_ms(status, headers, self._context.now_ms())
        windows = self._storing.windows(status, headers)
        told = self._storing.announced(status, headers, lifetime_ms, windows)
        names = {name for name, _ in told}
        return [*(pair for pair in headers if pair[0] not in names), *told]

    def closed(self, status: int, headers: Headers, body: bytes) -> None:
        """Begin to store an answer whose last byte was sent."""
        entry = self._entry(status, headers, body)
        if isinstance(entry, Entry):
            self._filled = self._fill(entry)
        else:
            self._refuse(entry)

    async def abandon(self, reason: Reason | None) -> None:
        """Give up: whoever waits leads next, or goes ahead where this answer cannot be stored."""
        if reason is not None and self._lease is not None:
            self._refuse(reason)
        await self._release(storable=reason is not Reason.BODY_TOO_LARGE)

    async def settle(self) -> None:
        """Wait for the fill; without one, let the next caller go ahead."""
        if self._filled is not None:
            await asyncio.shield(self._filled)
        await self._release(storable=False)


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
