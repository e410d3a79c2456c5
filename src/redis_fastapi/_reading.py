"""One GET through the cache: look up, answer or run; ``_filling`` has what follows the run.

The endpoint's wrapper calls ``before`` once every dependency and all validation has passed; the
route's handler calls ``finish`` with the serialized response, or ``failed`` when there is none.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from . import _http
from ._answers import replayed
from ._context import Context
from ._engine import Bypass, Hit, Miss
from ._entry import Entry
from ._filling import Filling
from ._http import Forward, Fresh, Freshness, Headers, MustRevalidate, Reason
from ._keys import Target
from ._leases import Lease
from ._policy import ReadPolicy, Values
from ._targets import read_target
from ._use import Use


class Reading:
    """What one request for a cached endpoint holds from its look-up to its answer."""

    def __init__(self, policy: ReadPolicy, context: Context, request: Request) -> None:
        self._policy = policy
        self._context = context
        self._request = request
        self._asked = _http.IGNORED
        self._injected: Headers = ()
        self.use = Use()
        self._lease: Lease | None = None
        self._filling: Filling | None = None
        self.target: Target | None = None

    async def early(self, target: Target) -> Response | None:
        """Answer from the cache before dependencies are resolved, or None where they have to be.

        Where there is no answer, ``before`` goes on with what was found.

        Args:
            target: What ``before`` would find.
        """
        self._hear()
        return await self._answer(target) if self._asked is _http.IGNORED else None

    async def before(self, values: Values, request: Request, injected: Response) -> Response | None:
        """Answer from the cache, or None where the endpoint has to run.

        ``request`` is the one that dependencies saw: another route class may have made a new one.
        """
        self._request = request
        self._injected = tuple(injected.raw_headers)
        if self.target is None:
            self._hear()
            target = await self._target(values)
            if self._asked.only_if_cached:
                return await self._stored_or_timeout(target)
            answer = None if target is None else await self._answer(target)
            if answer is not None:
                return answer
        self._filling = self._new_filling(self._groups(values) if self.target else ())
        return None

    def _hear(self) -> None:
        if self._context.settings.obey_client_directives:
            self._asked = _http.request_directives(self._request.scope["headers"])

    async def _answer(self, target: Target) -> Response | None:
        """An answer, or None where the endpoint runs: under the lease, if there is one now."""
        self.target, self.use.key = target, target.entry
        answer = await self._look_up(target)
        if isinstance(answer, Response):
            return answer
        self._lease = answer
        return None

    def _groups(self, values: Values) -> tuple[str, ...]:
        """Names to tell a CDN; the target's groups have been rendered once, so these can be."""
        told = self._context.settings.surrogate_header is not None
        return tuple(group.render(values) for group in self._policy.groups) if told else ()

    async def _target(self, values: Values) -> Target | None:
        if self._asked.no_store and not self._asked.only_if_cached:
            self.use.bypass(Reason.REQUEST_NO_STORE, Forward.REQUEST)
            self.use.state = None
            return None
        if self._policy.uncacheable is not None:
            self.use.bypass(self._policy.uncacheable)
            return None
        try:
            return await read_target(self._policy, values, self._request, self._context.site)
        except Exception as error:  # the author's key builder or attribute may raise anything
            self.use.bypass(Reason.NO_KEY)
            self._context.warn_once(self._policy.label, "no key for a request", error)
            return None

    async def _look_up(self, target: Target) -> Response | Lease | None:
        """An answer, or the lease under which the endpoint runs; None where it runs without."""
        engine = self._context.engine
        refresh, wait = self._asked.no_cache, self._policy.single_flight
        forward = Forward.REQUEST if refresh else self._policy.missing
        local = self._context.local(self._policy.local)
        outcome = await engine.look_up(target, refresh=refresh, wait=wait, local=local)
        if isinstance(outcome, Hit):
            freshness = self._assess(outcome.entry)
            if isinstance(freshness, Fresh):
                return self._replay(outcome, freshness)
            forward = _why(freshness)
            outcome = await engine.look_up(target, refresh=True)
        if isinstance(outcome, Bypass):
            self.use.bypass(outcome.reason)
        if not isinstance(outcome, Miss):
            return None
        self.use.miss(forward)
        return outcome.lease

    def _assess(self, entry: Entry) -> Freshness:
        """Whether an entry is as fresh as the client asks, and in an encoding that it takes."""
        if not _http.encoding_acceptable(self._request.scope["headers"], entry.headers):
            return MustRevalidate(Forward.VARY_MISS)
        return _http.assess_freshness(
            self._asked,
            age_ms=self._context.now_ms() - entry.created_ms,
            lifetime_ms=entry.fresh_ms or None,
        )

    def _replay(self, hit: Hit, freshness: Fresh) -> Response:
        self.use.hit(freshness.ttl, collapsed=hit.collapsed)
        told = self.use.fields(debug=self._context.settings.debug)
        return replayed(self._request, hit.entry, self._injected, self._context.now_ms(), told)

    async def _stored_or_timeout(self, target: Target | None) -> Response:
        """What is stored, or 504 (RFC 9111 section 5.2.1.7)."""
        local = self._context.local(self._policy.local)
        entry = None if target is None else await self._context.engine.peek(target, local=local)
        if entry is not None and isinstance(freshness := self._assess(entry), Fresh):
            return self._replay(Hit(entry, 0), freshness)
        self.use.bypass(Reason.ONLY_IF_CACHED)
        self.use.forward = None
        response = Response(status_code=504)
        response.raw_headers += self.use.fields(debug=self._context.settings.debug)
        return response

    def _new_filling(self, groups: tuple[str, ...]) -> Filling:
        return Filling(
            self._policy,
            self._context,
            self._request,
            self.use,
            injected=self._injected,
            groups=groups,
            lease=self._lease,
        )

    def ran(self, result: Any) -> None:
        """Hear what the endpoint returned, before it is serialized."""
        if self._filling is not None:
            self._filling.ran(result)

    def raised(self, error: Exception) -> None:
        """Hear what the endpoint itself raised."""
        if self._filling is not None:
            self._filling.raised(error)

    async def finish(self, response: Response) -> Response:
        """The response to send: from the cache as it is, from the endpoint once it is filled in."""
        return response if self._filling is None else await self._filling.finish(response)

    async def failed(self, error: BaseException) -> None:
        """There is no response: whoever waits leads next."""
        if self._filling is not None:
            await self._filling.failed(error)
        elif self._lease is not None:
            await self._lease.release()


def _why(freshness: Freshness) -> Forward:
    return freshness.reason if isinstance(freshness, MustRevalidate) else Forward.STALE
