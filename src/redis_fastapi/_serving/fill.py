"""One run of the endpoint for a cached GET, and its right to store an entry."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from .._engine.leases import Lease
from .._http import Headers, Reason, announced_length, is_event_stream
from .._policy.policy import ReadPolicy
from .._redis.entry import Entry
from .cache_status import CacheStatus
from .context import Context
from .entry_builder import EntryBuilder
from .responses import OWN_RESPONSE, unstored_headers, without
from .variants import selection


class Fill:
    """One run, from the endpoint's result to the entry in Redis.

    Args:
        policy: Of the route.
        context: Of the application.
        scope: Of the request that runs the endpoint.
        cache_status: What the response reports about the cache.
        injected: Header fields that dependencies have set.
        groups: Names of the entry's groups, if they are sent to a CDN.
        lease: The right to fill; None if nothing will be stored.

    Attributes:
        own_response: Whether the endpoint built the response itself.
        error: What the endpoint raised, if the response to it may be stored.
    """

    def __init__(
        self,
        policy: ReadPolicy,
        context: Context,
        scope: Scope,
        cache_status: CacheStatus,
        *,
        injected: Headers,
        groups: tuple[str, ...],
        lease: Lease | None,
    ) -> None:
        self.context = context
        self.scope = scope
        self.injected = injected
        self.lease = lease
        self.own_response = False
        self.error: Exception | None = None
        self._policy = policy
        self._cache_status = cache_status
        ttl_ms = context.ttl_ms(policy.ttl, jitter=policy.staleness.jitter)
        self._builder = EntryBuilder(
            policy, context.settings, context.heads, ttl_ms, groups, varies=True
        )
        self._refusal: Reason | None = None
        self._began_ms = context.now_ms()
        self._cost_ms = 0

    def endpoint_returned(self, result: Any) -> None:
        """Note what the endpoint returned, before it is serialized."""
        self._cost_ms = max(0, self.context.now_ms() - self._began_ms)
        if isinstance(result, Response):
            self._take_as_built()
        when = self._policy.when
        try:
            wanted = when is None or bool(when(result))
        except Exception as error:  # the user's predicate may raise anything
            wanted = False
            self.context.warn_once(self._policy.label, "when= raised", error)
        if not wanted:
            self._refusal = Reason.WHEN

    def endpoint_raised(self, error: Exception) -> None:
        """Note an exception of the endpoint itself; those of dependencies do not get here."""
        if isinstance(error, HTTPException) and error.status_code in self._policy.statuses:
            self.error = error
            self._take_as_built()

    def _take_as_built(self) -> None:
        """Leave out what dependencies set, now and on replay, as FastAPI does."""
        self.own_response = True
        self.injected = ()

    def entry(self, status: int, headers: Headers, body: bytes, now_ms: int) -> Entry | Reason:
        """The entry to store, or the reason not to store one."""
        if self._refusal is not None:
            return self._refusal
        own = without(headers, self.injected)
        entry = self._builder.build(
            status, headers, body, own=own, now_ms=now_ms, cost_ms=self._cost_ms
        )
        if not isinstance(entry, Entry):
            return entry
        built = (OWN_RESPONSE,) if self.own_response else ()
        selected = selection(headers, self._policy.keyed_headers, self.scope["headers"])
        if not built and not selected:
            return entry
        return entry._replace(headers=(*built, *entry.headers, *selected))

    def early_refusal(self, status: int, headers: Headers) -> Reason | None:
        """The reason not to store a response, as far as its head shows."""
        if self._refusal is not None:
            return self._refusal
        if is_event_stream(headers):
            return Reason.UNFINISHED
        size, now_ms = announced_length(headers) or 0, self.context.now_ms()
        return self._builder.refusal(status, headers, size=size, now_ms=now_ms)

    def stored_fields(self, entry: Entry, now_ms: int) -> list[tuple[bytes, bytes]]:
        """The cache's own fields of a response that is stored."""
        self._cache_status.stored = self.lease is not None
        if self._cache_status.stored and entry.fresh_ms:
            left_ms = entry.created_ms + entry.fresh_ms - now_ms
            self._cache_status.ttl = -(-left_ms // 1000)
        return self._status_fields()

    def unstored(self, headers: Headers, reason: Reason) -> list[tuple[bytes, bytes]]:
        """The header fields of a response that is not stored."""
        self.refuse(reason)
        return unstored_headers(self._policy, headers) + self._status_fields()

    def unfinished(self, status: int, headers: Headers) -> list[tuple[bytes, bytes]]:
        """The header fields of a response that may be stored once its body is complete."""
        lifetime_ms = self._builder.lifetime_ms(status, headers, self.context.now_ms())
        windows = self._builder.windows(status, headers)
        announced = self._builder.announced(status, headers, lifetime_ms, windows)
        names = {name for name, _ in announced}
        return [
            *(pair for pair in headers if pair[0] not in names),
            *announced,
            *self._status_fields(),
        ]

    def _status_fields(self) -> list[tuple[bytes, bytes]]:
        return self._cache_status.fields(debug=self.context.settings.debug)

    def refuse(self, reason: Reason) -> None:
        """Record and log why nothing is stored."""
        self._cache_status.reason = self._cache_status.reason or reason
        if reason is not Reason.WHEN:
            self.context.not_stored(self._policy.label, reason)

    def begin(self, entry: Entry, now_ms: int) -> asyncio.Future[bool] | None:
        """Start to store an entry, if the lease has not been given up."""
        lease, self.lease = self.lease, None
        if lease is None:
            return None
        filling = lease.fill(entry, entry.kept_ms(now_ms))
        return asyncio.get_running_loop().create_task(filling)

    async def let_others_compute(self, reason: Reason) -> None:
        """Let waiting requests compute in parallel, unless the next response may be storable."""
        await self.release(storable=reason is Reason.PARTIAL_CONTENT)

    async def release(self, *, storable: bool) -> None:
        """Give up the lease; if responses are storable, one of the waiting requests leads next."""
        lease, self.lease = self.lease, None
        if lease is not None:
            await lease.release(storable=storable)
