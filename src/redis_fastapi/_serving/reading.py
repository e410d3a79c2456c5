"""One GET through the cache: look up, then respond from the entry or run the endpoint.

A stale entry is sent if it allows that: immediately, while `refresh.py` has it recomputed, or in
place of an error of the endpoint. What the endpoint returns is completed in `completion.py`.

The endpoint's wrapper calls ``before`` once all dependencies and validation have passed; the
route's handler calls ``finish`` with the serialized response, or ``failed`` if there is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from .. import _http
from .._engine.engine import Bypass, Hit, Miss, Outcome, Stale
from .._engine.leases import Lease
from .._http import Forward, Fresh, Headers, Reason
from .._policy.policy import ReadPolicy, Values
from .._redis.entry import Entry
from .._redis.keys import Target
from .._routes.targets import read_target
from .cache_status import CacheStatus
from .completion import fail, finish
from .context import Context
from .fill import Fill
from .prepared import Prepared, plain_hit, prepared
from .recording import outlet_of
from .refresh import RERUN, Refreshable, Rerun
from .responses import replayed
from .reuse import Requirements, assess, stands_in
from .shortcut import Destination
from .subrequests import FRESH_ONLY
from .variants import MOST_STEPS, matches, variant_of


class Reading:
    """The state of one request for a cached endpoint, from its lookup to its response."""

    _request: Request
    """The request as dependencies saw it; set once they have run."""

    def __init__(self, policy: ReadPolicy, context: Context, scope: Scope) -> None:
        self._policy = policy
        self._context = context
        self._scope = scope
        self._directives = _http.IGNORED
        self._injected: Headers = ()
        self.cache_status = CacheStatus()
        self._lease: Lease | None = None
        self._fill: Fill | None = None
        self._fallback: Entry | None = None
        self._error: Exception | None = None
        self._destination: Destination | None = None
        self._conditions: Headers = ()
        self._local = context.local(policy.local)
        self.target: Target | None = None

    async def before_dependencies(
        self, destination: Destination, found: Outcome | None
    ) -> Response | None:
        """Respond from the cache before dependencies are resolved, or return None.

        After None, ``before`` continues with the outcome of this lookup.

        Args:
            destination: The request's destination.
            found: The outcome of the lookup, if it was made.
        """
        self._read_directives()
        if not self._is_plain_request():
            return None
        self._allow_prepared(destination)
        self._set_target(destination.target)
        return self._response_or_keep_lease(await self._look_up(destination.target, found))

    async def before_endpoint(
        self, values: Values, request: Request, injected: Response, destination: Destination | None
    ) -> Response | None:
        """Respond from the cache, or return None if the endpoint has to run.

        Args:
            values: Of the endpoint's parameters.
            request: As dependencies saw it; another route class may have made a new one.
            injected: The response on which dependencies set headers.
            destination: The request's destination, if it is known.
        """
        self._request, self._scope = request, request.scope
        self._injected = tuple(injected.raw_headers)
        if self.target is None:
            self._read_directives()
            target = await self._target(values, destination)
            if destination is not None and not self._injected and self._is_plain_request():
                self._allow_prepared(destination)
            if self._directives.only_if_cached:
                return await self._stored_or_timeout(target)
            response = None if target is None else await self._respond_at(target)
            if response is not None:
                return response
        self._fill = self._new_fill(self._groups(values) if self.target else ())
        return None

    def _read_directives(self) -> None:
        if self._context.settings.obey_client_directives:
            self._directives = _http.request_directives(self._scope["headers"])

    def _is_plain_request(self) -> bool:
        """Whether the request has no directives and is no background refresh."""
        return self._directives is _http.IGNORED and RERUN not in self._scope

    def _allow_prepared(self, destination: Destination) -> None:
        """Let a prepared response be sent for this request, and its own response be prepared."""
        # with beta, every hit draws at random whether to refresh
        if not self._policy.staleness.beta:
            self._destination = destination
            self._conditions = _http.conditions(self._scope["headers"])

    async def _respond_at(self, target: Target) -> Response | None:
        """A response, or None if the endpoint runs, under `_lease` if that is set."""
        self._set_target(target)
        rerun: Rerun | None = self._scope.get(RERUN)
        if rerun is None:
            return self._response_or_keep_lease(await self._look_up(target))
        return self._response_or_keep_lease(self._lease_to_refresh(rerun, target))

    def _set_target(self, target: Target) -> None:
        self.target, self.cache_status.key = target, target.entry

    def _response_or_keep_lease(self, found: Response | Lease | None) -> Response | None:
        """The response, if there is one; otherwise keep the lease to run under."""
        if isinstance(found, Response):
            return found
        self._lease = found
        return None

    def _groups(self, values: Values) -> tuple[str, ...]:
        """Group names for a CDN; rendering cannot fail, since the target has rendered them."""
        if self._context.settings.surrogate_header is None:
            return ()
        return tuple(group.render(values) for group in self._policy.groups)

    async def _target(self, values: Values, destination: Destination | None) -> Target | None:
        if self._directives.no_store and not self._directives.only_if_cached:
            self.cache_status.bypass(Reason.REQUEST_NO_STORE, Forward.REQUEST)
            self.cache_status.state = None
            return None
        if self._policy.uncacheable is not None:
            self.cache_status.bypass(self._policy.uncacheable)
            return None
        if destination is not None:
            return destination.target
        try:
            return await read_target(self._policy, values, self._request, self._context.sites)
        except Exception as error:  # the user's key builder or attribute may raise anything
            self.cache_status.bypass(Reason.NO_KEY)
            self._context.warn_once(self._policy.label, "no key for a request", error)
            return None

    def _lease_to_refresh(self, rerun: Rerun, target: Target) -> Lease | Response:
        """The lease that a background refresh computes under; a 204 if it reached another entry."""
        lease = rerun.lease_of(target)
        if lease is None:
            return Response(status_code=204)
        self.cache_status.miss(Forward.STALE)
        return lease

    async def _look_up(
        self, target: Target, found: Outcome | None = None
    ) -> Response | Lease | None:
        """The response that is stored, or the lease to compute one; None for neither."""
        ready = self._ready()
        if ready is not None:
            again = await self._look_again(target, ready, found)
            if isinstance(again, Response):
                return again
            found = again
        return await self._reuse_or_lease(target, found)

    async def _reuse_or_lease(
        self, target: Target, found: Outcome | None
    ) -> Response | Lease | None:
        look = self._find if self._directives.no_cache else self._look_up_or_wait
        if found is None:
            found = await look(target)
        target, found = await self._follow_variants(target, found, look)
        forward = None if target is self.target else Forward.VARY_MISS
        if isinstance(found, (Hit, Stale)):
            reused = await self._from_cache(target, found)
            if isinstance(reused, Response):
                return reused
            forward, self._fallback = reused, found.entry
        elif found is not None and found.stale is not None:
            forward, self._fallback = Forward.STALE, found.stale.entry
        if not isinstance(found, (Miss, Bypass)):
            found = await self._context.engine.look_up(target, refresh=True)
        return self._lease_of(found, Forward.REQUEST if self._directives.no_cache else forward)

    def _lease_of(self, outcome: Outcome, forward: Forward | None) -> Lease | None:
        if isinstance(outcome, Bypass):
            self.cache_status.bypass(outcome.reason)
        if not isinstance(outcome, Miss):
            return None
        self.cache_status.miss(forward or self._policy.missing)
        return outcome.lease

    async def _follow_variants(
        self,
        target: Target,
        found: Outcome | None,
        look: Callable[[Target], Awaitable[Outcome | None]],
    ) -> tuple[Target, Outcome | None]:
        """The target of this request's variant, and the outcome of the lookup there.

        Args:
            target: Of the resource itself.
            found: The outcome of the lookup there.
            look: Looks up another target.
        """
        headers = self._scope["headers"]
        for _ in range(MOST_STEPS):
            if not isinstance(found, (Hit, Stale)) or matches(found.entry, headers):
                break
            target = variant_of(target, found.entry, headers)
            found = await look(target)
        self.cache_status.key = target.entry
        return target, found

    def _look_up_or_wait(self, target: Target) -> Awaitable[Outcome]:
        return self._context.engine.look_up(
            target,
            wait=self._policy.single_flight,
            tolerated_ms=(self._directives.max_stale or 0) * 1000,
            local=self._local,
        )

    def _find(self, target: Target) -> Awaitable[Outcome | None]:
        return self._context.engine.find(target, local=self._local)

    async def _from_cache(self, target: Target, found: Hit | Stale) -> Response | Forward:
        """The response that an entry gives, or the reason to forward the request."""
        now_ms = self._context.now_ms()
        freshness = assess(self._requirements(), found, now_ms)
        if isinstance(freshness, (Fresh, _http.Stale)):
            return await self._reuse(target, found, freshness, now_ms)
        return freshness.reason

    def _requirements(self) -> Requirements:
        scope = self._scope
        shared = not self._policy.per_user
        return Requirements(
            scope["headers"], self._directives, shared, only_fresh=FRESH_ONLY in scope
        )

    async def _reuse(
        self, target: Target, found: Hit | Stale, freshness: Fresh | _http.Stale, now_ms: int
    ) -> Response:
        if isinstance(freshness, _http.Stale):
            due = freshness.refresh
            self.cache_status.stale(freshness.ttl)
        else:
            due = self._refresh_is_due_early(found.entry)
            collapsed = isinstance(found, Hit) and found.collapsed
            local = isinstance(found, Hit) and found.local
            self.cache_status.hit(freshness.ttl, collapsed=collapsed, local=local)
        if due:
            await self._refresh(target, found.entry)
        response = self._replay(found.entry, now_ms)
        if self._destination is not None and (hit := plain_hit(found)) is not None:
            self._destination.prepared = prepared(
                hit, response, self._conditions, now_ms=now_ms, ttl=freshness.ttl
            )
        return response

    def _ready(self) -> Prepared | None:
        """The response that was prepared for an equal request, if there is one."""
        ready = self._destination.prepared if self._destination is not None else None
        return ready if ready is not None and ready.request_fields == self._conditions else None

    async def _look_again(
        self, target: Target, ready: Prepared, found: Outcome | None
    ) -> Response | Outcome:
        """The prepared response if the entry still gives it; otherwise the lookup's outcome."""
        again: Outcome | bytes | None = found
        if again is None and self._local:
            again = await self._look_up_or_wait(target)
        elif again is None:
            engine, wait = self._context.engine, self._policy.single_flight
            again = await engine.look_again(target, ready, wait=wait)
        if isinstance(again, bytes):
            self.cache_status.hit(ready.ttl, collapsed=False, local=False)
            return ready.response(again)
        hit = plain_hit(again)
        if hit is None or not ready.is_given_by(hit.entry, self._context.now_ms()):
            return again
        self.cache_status.hit(ready.ttl, collapsed=False, local=hit.local)
        return ready.response(hit.entry.body)

    def _refresh_is_due_early(self, entry: Entry) -> bool:
        beta = self._policy.staleness.beta
        if not beta or not entry.fresh_ms:
            return False
        return _http.refresh_due_early(
            remaining_ms=entry.created_ms + entry.fresh_ms - self._context.now_ms(),
            cost_ms=entry.cost_ms,
            beta=beta,
            draw=self._context.engine.draw(),
        )

    async def _refresh(self, target: Target, entry: Entry) -> None:
        """Start to recompute an entry in the background."""
        body = await self._request.body() if self._policy.selectors.body else b""
        context, scope = self._context, self._scope
        assert self.target is not None
        due = Refreshable(self._policy.label, self.target, target, entry)
        run = context.refreshes.begin(context.engine, due, scope, body)
        if run is not None and context.eager:
            await asyncio.wait((run,))

    def _replay(self, entry: Entry, now_ms: int) -> Response:
        fields = self.cache_status.fields(debug=self._context.settings.debug)
        return replayed(self._scope, entry, self._injected, now_ms, fields)

    async def _stored_or_timeout(self, target: Target | None) -> Response:
        """The stored response, or 504 (RFC 9111 section 5.2.1.7)."""
        if target is not None:
            self.target = target
            target, found = await self._follow_variants(
                target, await self._find(target), self._find
            )
            if isinstance(found, (Hit, Stale)):
                reused = await self._from_cache(target, found)
                if isinstance(reused, Response):
                    return reused
        self.cache_status.bypass(Reason.ONLY_IF_CACHED)
        self.cache_status.forward = None
        response = Response(status_code=504)
        response.raw_headers += self.cache_status.fields(debug=self._context.settings.debug)
        return response

    def _new_fill(self, groups: tuple[str, ...]) -> Fill:
        return Fill(
            self._policy,
            self._context,
            self._request.scope,
            self.cache_status,
            injected=self._injected,
            groups=groups,
            lease=self._lease,
        )

    def endpoint_returned(self, result: Any) -> None:
        """Note what the endpoint returned, before it is serialized."""
        if self._fill is not None:
            self._fill.endpoint_returned(result)

    def endpoint_raised(self, error: Exception) -> None:
        """Note an exception of the endpoint itself; those of dependencies do not get here."""
        self._error = error
        if self._fill is not None:
            self._fill.endpoint_raised(error)

    async def finish(self, response: Response) -> Response:
        """The response to send, completed and stored if it comes from the endpoint."""
        if self._fill is None:
            return response
        stand_in = await self._stand_in(response.status_code)
        if stand_in is None:
            return await finish(self._fill, response)
        stand_in.background = response.background
        return stand_in

    async def failed(self, error: BaseException) -> Response | None:
        """Release the lease, so that a waiting request leads next.

        Returns:
            A stale response to send in place of the error, or None.
        """
        if self._fill is None:
            await self._release()
            return None
        status = _status_of(error, self._scope) if error is self._error else None
        stand_in = None if status is None else await self._stand_in(status)
        if stand_in is None:
            await fail(self._fill, error)
        elif not isinstance(error, HTTPException):
            self._context.log_replaced_error(self._policy.label, error)
        return stand_in

    async def after_cleanup(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """Store no error response if a dependency raised another error as it cleaned up."""
        outlet = outlet_of(self._scope)
        if outlet is not None and error is not self._error:
            await outlet.close()
        return False

    async def _release(self) -> None:
        if self._lease is not None:
            await self._lease.release()

    async def _stand_in(self, status: int) -> Response | None:
        """The stale response to send in place of an error (RFC 5861 section 4), if there is one."""
        entry = self._fallback
        if entry is None or self._fill is None or status not in _http.STALE_IF_ERROR_STATUSES:
            return None
        now_ms = self._context.now_ms()
        if not stands_in(self._requirements(), entry, now_ms):
            return None
        await self._fill.release(storable=True)
        self.cache_status.stand_in(-(entry.staleness_ms(now_ms) // 1000), status)
        return self._replay(entry, now_ms)


def _status_of(error: BaseException, scope: Scope) -> int | None:
    """The status code that an exception leads to; None if an exception handler decides."""
    if isinstance(error, HTTPException):
        return error.status_code
    handled, _ = scope.get("starlette.exception_handlers", ({}, {}))
    own = any(kind in handled for kind in type(error).__mro__)
    return None if own or not isinstance(error, Exception) else 500
