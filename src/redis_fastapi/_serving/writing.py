"""One write through the cache: evictions are determined before it runs, sent before it responds.

A put takes the entry's lease by force before its endpoint runs, so no reader that saw the older
value can store it afterwards. A write with an unknown outcome (cancelled, or its result could not
be serialized) evicts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from .. import _http
from .._engine.leases import Lease
from .._http import Headers
from .._policy.policy import Put, ReadPolicy, Values, WritePolicy
from .._redis.entry import Entry
from .._routes.targets import (
    EVERYTHING,
    Evicted,
    PutTarget,
    Site,
    evicted_by,
    evicted_by_response,
    put_target,
)
from .context import Context
from .entry_builder import EntryBuilder, whole_body
from .preconditions import refused_by_preconditions

_T = TypeVar("_T")

_REPRESENTATION = frozenset(
    {b"content-type", b"content-language", b"content-encoding", b"etag", b"last-modified"}
)
"""Fields of a write's response that describe what a GET would send."""


class Writing:
    """The state of one request for a writing endpoint until its response is sent.

    Attributes:
        awaits_cleanup: Whether `after_cleanup` will be called.
    """

    _request: Request
    """The request as dependencies saw it."""
    _site: Site

    def __init__(self, policy: WritePolicy, context: Context) -> None:
        self._policy = policy
        self._context = context
        self._evicted: list[tuple[Evicted, Callable[[Any], bool] | None]] = []
        self._put: PutTarget | None = None
        self._lease: Lease | None = None
        self._running = False
        self._given_up = False
        self._loop = asyncio.get_running_loop()
        self._late: asyncio.Future[bool] | None = None
        self._due = Evicted()
        self._written = False
        self._kept: Entry | None = None
        self.awaits_cleanup = False

    async def before_endpoint(self, values: Values, request: Request) -> Response | None:
        """Determine what will be evicted, and take the lease of what will be written.

        Returns:
            A 412 response in place of the endpoint's, if the request's preconditions do not hold.
        """
        self._request = request
        self._site = self._context.sites.at(self._policy, request.scope)
        unsafe = request.method not in _http.SAFE_METHODS
        if self._policy.preconditions and unsafe:
            refused = await refused_by_preconditions(request, now_ms=self._context.now_ms())
            if refused is not None:
                return refused
        for eviction in self._policy.evictions:
            names = await self._named(evicted_by(eviction, values, self._request, self._site))
            self._evicted.append((names or EVERYTHING, eviction.when))
        if self._policy.put is not None and unsafe:
            await self._prepare_put(self._policy.put, values)
        self._running = True
        return None

    async def _named(self, naming: Awaitable[_T]) -> _T | None:
        """The names; None if they cannot be determined, so that everything is evicted."""
        try:
            return await naming
        except Exception as error:  # the user's key builder or attribute may raise anything
            message = "cannot tell what to evict, so everything is evicted"
            self._context.warn_once(self._policy.label, message, error)
            return None

    async def _prepare_put(self, put: Put, values: Values) -> None:
        named = await self._named(put_target(put, self._policy, values, self._request, self._site))
        self._put = named or PutTarget(None, None, EVERYTHING)
        if self._put.target is not None:
            self._lease = await self._context.engine.seize(self._put.target)

    def endpoint_returned(self, result: Any) -> None:
        """Note what the endpoint returned, which decides what is stored and evicted."""
        for names, when in self._evicted:
            if when is None or self._holds(when, result, otherwise=True):
                self._due = self._due.plus(names)
        put = self._policy.put
        if self._put is None or put is None:
            return
        wanted = (put.when, self._put.reader.when if self._put.reader else None)
        self._written = self._is_of_model(result) and all(
            when is None or self._holds(when, result, otherwise=False) for when in wanted
        )
        self._due = self._due.plus(self._put.always_evicted)
        if self._lease is None or not self._written:
            self._written = False
            self._due = self._due.plus(self._put.evicted)

    def _is_of_model(self, result: Any) -> bool:
        """Whether the response follows the model, as that of the GET does."""
        return not (self._policy.modelled and isinstance(result, Response))

    def _holds(self, when: Callable[[Any], bool], result: Any, *, otherwise: bool) -> bool:
        try:
            return bool(when(result))
        except Exception as error:  # the user's predicate may raise anything
            self._context.warn_once(self._policy.label, "when= raised", error)
            return otherwise

    async def finish(self, response: Response) -> Response:
        """Evict and store before a successful response is sent; a failure changes nothing."""
        if response.status_code >= 400:
            self._due, self._written = Evicted(), False
        elif self._policy.invalidates:
            self._due = self._due.plus(self._named_by(response.status_code, response.raw_headers))
        entry = self._to_put(response) if self._written else None
        if entry is None:
            confirmed = await self._evict_alone()
        else:
            confirmed = await self._put_beside(entry)
        self._running = False
        kept = confirmed or not self._policy.strict
        return response if kept else _unconfirmed(response.background)

    def _named_by(self, status: int, headers: Headers) -> Evicted:
        return evicted_by_response(self._request, status, _http.lower_names(headers), self._site)

    def _to_put(self, response: Response) -> Entry | None:
        """The entry to put; None if there is none, and its target is evicted instead."""
        assert self._put is not None
        reader = self._put.reader
        entry = None if reader is None else self._entry(reader, response)
        if entry is None:
            self._due = self._due.plus(self._put.evicted)
        return entry

    async def _evict_alone(self) -> bool:
        await self._release()
        return await self._evict()

    async def _put_beside(self, entry: Entry) -> bool:
        """Put and evict concurrently, in either order; False if Redis did not confirm.

        The entry names its generations: if one of them is evicted it is invalid, whether it was
        stored before or after that.
        """
        stored, confirmed = await asyncio.gather(self._write(entry), self._evict())
        if stored:
            return confirmed
        assert self._put is not None
        self._due = self._due.plus(self._put.evicted)
        return await self._evict()

    async def _write(self, entry: Entry) -> bool:
        """Put; False if Redis did not confirm that nothing older remains."""
        engine = self._context.engine
        # not earlier: if this task is cancelled before it starts, `abandon` releases the lease
        lease, self._lease = self._lease, None
        if lease is None:
            return False
        stored = await engine.put(lease, entry, entry.kept_ms(self._context.now_ms()))
        if stored and self.awaits_cleanup:
            # held until the commit, to detect another write in between
            self._lease, self._kept = await engine.seize(lease.target), entry
        return stored

    def _entry(self, reader: ReadPolicy, response: Response) -> Entry | None:
        """The GET's entry with this body; None if such a response to a GET would not be stored."""
        body, put, named = whole_body(response), self._policy.put, self._put
        assert put is not None
        assert named is not None
        if body is None or response.status_code not in (200, 201):
            return None
        headers = _http.lower_names(response.raw_headers)
        ttl = reader.ttl if put.ttl is None else put.ttl
        context = self._context
        ttl_ms = context.ttl_ms(ttl, jitter=reader.staleness.jitter)
        entry = EntryBuilder(reader, context.settings, context.heads, ttl_ms, named.groups).build(
            reader.status,
            headers,
            body,
            own=[pair for pair in headers if pair[0] in _REPRESENTATION],
            now_ms=context.now_ms(),
        )
        if isinstance(entry, Entry):
            return entry
        context.not_stored(self._policy.label, entry)
        return None

    async def _release(self) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            await lease.release()

    async def _evict(self) -> bool:
        return self._due == Evicted() or await self._context.evict(self._due)

    async def abandon(self, error: BaseException) -> Response | None:
        """Clean up when the endpoint, or something after it, failed.

        An endpoint that raised has written nothing. One that was cancelled, or whose result could
        not be serialized, may have written: everything it would have evicted is evicted.

        Returns:
            A response to send instead of a raised redirect if Redis did not confirm.
        """
        self._given_up = True
        redirected = isinstance(error, HTTPException) and error.status_code < 400
        if isinstance(error, HTTPException) and self._running and self._policy.invalidates:
            self._due = self._due.plus(self._named_by(error.status_code, _fields_of(error)))
        returned = self._due != Evicted() or self._written or redirected
        if self._running and (returned or not isinstance(error, Exception)):
            for names, _ in self._evicted:
                self._due = self._due.plus(names)
            if self._put is not None:
                self._due = self._due.plus(self._put.evicted)
        # one task: where a scope is cancelled, each further await here would be too
        confirmed = await asyncio.shield(asyncio.ensure_future(self._give_up()))
        kept = confirmed or not redirected or not self._policy.strict
        return None if kept else _unconfirmed()

    async def _give_up(self) -> bool:
        await self._release()
        return not self._running or await self._evict()

    def ended_in_thread(self) -> None:
        """Note, in its thread, that a plain endpoint has ended; cancellation does not stop it.

        If the request was given up before, its evictions are sent once more.
        """
        if self._given_up:
            with suppress(RuntimeError):  # the loop is closed, and the process is about to exit
                self._loop.call_soon_threadsafe(self._evict_late)

    def _evict_late(self) -> None:
        self._late = asyncio.ensure_future(self._evict())

    async def after_function_cleanup(
        self, kind: object, error: BaseException | None, trace: object
    ) -> bool:
        """Evict once more after dependencies that clean up before the response is sent."""
        return await self._evict_again(stands=error is None)

    async def after_cleanup(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """Evict once more when dependencies have cleaned up, since one may commit only then.

        A put stays only if its commit succeeded and no other write came in between: two writes may
        commit in a different order than they responded.
        """
        return await self._evict_again(stands=error is None and await self._stands())

    async def _evict_again(self, *, stands: bool) -> bool:
        """Evict again, including a put that does not stand; returns False to propagate an error."""
        if self._put is not None and self._written and not stands:
            self._due = self._due.plus(self._put.evicted)
        evicting = self._evict() if stands else self._evict_alone()
        # one task: where a scope is cancelled, each further await here would be too
        await asyncio.shield(asyncio.ensure_future(evicting))
        return False

    async def _stands(self) -> bool:
        """Whether the put entry is still the latest; it is stored once more to find out."""
        (lease, self._lease), entry = (self._lease, None), self._kept
        if lease is None or entry is None:
            return False
        return await lease.fill(entry, entry.kept_ms(self._context.now_ms()))


def _fields_of(error: HTTPException) -> Headers:
    """The header fields to send for an error; what cannot be sent names nothing."""
    encode = partial(str.encode, encoding="latin-1", errors="replace")
    return [(encode(name), encode(value)) for name, value in (error.headers or {}).items()]


def _unconfirmed(background: BackgroundTask | None = None) -> Response:
    """The response if the write is done, but older entries may still be served."""
    detail = "done, but the cache did not confirm that older responses are gone"
    return JSONResponse({"detail": detail}, 503, background=background)
