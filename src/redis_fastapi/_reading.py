"""One GET through the cache: look up, answer or run, store.

The endpoint's wrapper calls ``before`` once every dependency and all validation has passed; the
route's handler calls ``finish`` with the serialized response, or ``abandon`` when there is none.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from . import _http
from ._answers import (
    OWN_RESPONSE,
    announced,
    replayed,
    unstored_headers,
    without,
)
from ._context import Context
from ._engine import Hit, Miss
from ._entry import Entry
from ._http import Headers
from ._keys import Target
from ._leases import Lease
from ._policy import ReadPolicy, Values
from ._storing import Storing, whole_body
from ._targets import read_target


class Reading:
    """What one request for a cached endpoint holds from its look-up to its fill."""

    def __init__(self, policy: ReadPolicy, context: Context, request: Request) -> None:
        self._policy = policy
        self._context = context
        self._request = request
        self._asked = _http.IGNORED
        self._lease: Lease | None = None
        self._state: bytes | None = b"BYPASS"
        self._injected: Headers = ()
        self._storable = True
        self._own_response = False

    async def before(self, values: Values, request: Request, injected: Response) -> Response | None:
        """Answer from the cache, or None where the endpoint has to run.

        ``request`` is the one that dependencies saw: another route class may have made a new one.
        """
        self._request = request
        self._injected = tuple(injected.raw_headers)
        if self._context.settings.obey_client_directives:
            self._asked = _http.request_directives(self._request.scope["headers"])
        if self._asked.no_store:
            self._state = None
            return None
        target = await self._target(values)
        return None if target is None else await self._look_up(target)

    async def _target(self, values: Values) -> Target | None:
        policy = self._policy
        if policy.uncacheable is not None:
            return None
        try:
            return await read_target(policy, values, self._request, self._context.site)
        except Exception as error:  # the author's key builder or attribute may raise anything
            self._context.warn_once(policy.label, "no key for a request", error)
            return None

    async def _look_up(self, target: Target) -> Response | None:
        engine = self._context.engine
        refresh, wait = self._asked.no_cache, self._policy.single_flight
        outcome = await engine.look_up(target, refresh=refresh, wait=wait)
        if isinstance(outcome, Hit):
            if self._satisfies(outcome.entry):
                return self._replay(outcome.entry)
            outcome = await engine.look_up(target, refresh=True)
        if isinstance(outcome, Miss):
            self._lease, self._state = outcome.lease, b"MISS"
        if self._asked.only_if_cached:
            await self.abandon()
            return Response(status_code=504)
        return None

    def _satisfies(self, entry: Entry) -> bool:
        """Whether an entry is as fresh as the client asks, and in an encoding that it takes."""
        freshness = _http.assess_freshness(
            self._asked,
            age_ms=self._context.now_ms() - entry.created_ms,
            lifetime_ms=entry.fresh_ms or None,
        )
        acceptable = _http.encoding_acceptable(self._request.scope["headers"], entry.headers)
        return acceptable and isinstance(freshness, _http.Fresh)

    def _replay(self, entry: Entry) -> Response:
        self._state = b"HIT"
        now_ms = self._context.now_ms()
        return replayed(self._request, entry, self._injected, now_ms, self._state)

    def ran(self, result: Any) -> None:
        """Hear what the endpoint returned, before it is serialized."""
        self._own_response = isinstance(result, Response)
        if self._own_response:
            self._injected = ()
        when = self._policy.when
        if when is None:
            return
        try:
            self._storable = bool(when(result))
        except Exception as error:  # the author's predicate may raise anything
            self._storable = False
            self._context.warn_once(self._policy.label, "when= raised", error)

    async def finish(self, response: Response) -> Response:
        """Announce lifetime and use of the cache, and store what may be stored."""
        if self._state == b"HIT":
            return response
        lease, self._lease = self._lease, None
        entry = self._entry(response)
        if entry is None:
            response.raw_headers = unstored_headers(self._policy, response.raw_headers)
        else:
            now_ms = self._context.now_ms()
            response = announced(self._request, response, entry, self._injected, now_ms)
        if self._state is not None:
            response.raw_headers.append((b"x-redis-cache", self._state))
        if lease is not None:
            await self._end(lease, entry, response)
        return response

    def _entry(self, response: Response) -> Entry | None:
        """What to store, or None where it may not be stored."""
        body = whole_body(response)
        found = _http.Reason.UNFINISHED if body is None else self._whole_entry(response, body)
        if isinstance(found, _http.Reason):
            self._context.not_stored(self._policy.label, found)
            return None
        return found if self._storable else None

    def _whole_entry(self, response: Response, body: bytes) -> Entry | _http.Reason:
        headers = response.raw_headers
        storing = Storing(
            self._policy,
            self._context.settings,
            self._context.ttl_ms(self._policy.ttl, jitter=self._policy.staleness.jitter),
        )
        entry = storing.entry(
            response.status_code,
            headers,
            body,
            own=without(headers, self._injected),
            now_ms=self._context.now_ms(),
        )
        if self._own_response and isinstance(entry, Entry):
            return replace(entry, headers=(OWN_RESPONSE, *entry.headers))
        return entry

    async def _end(self, lease: Lease, entry: Entry | None, response: Response) -> None:
        """Begin the fill, so that it overlaps with sending, or let the next caller go ahead."""
        if entry is None:
            await lease.release(storable=False)
            return
        filling = lease.fill(entry, entry.kept_ms(self._context.now_ms()))
        if self._context.eager:
            await filling
            return
        response.background = _AfterFill(response.background, asyncio.ensure_future(filling))

    async def abandon(self) -> None:
        """Give up without a response: whoever waits leads next."""
        lease, self._lease = self._lease, None
        if lease is not None:
            await lease.release()


class _AfterFill(BackgroundTask):
    """Runs the response's own tasks, then waits until the fill has ended."""

    def __init__(self, own: BackgroundTask | None, fill: asyncio.Future[bool]) -> None:
        self._own = own
        self._fill = fill

    async def __call__(self) -> None:
        if self._own is not None:
            await self._own()
        await self._fill
