"""How the cache was used for a response: X-Redis-Cache, and Cache-Status (RFC 9211)."""

from __future__ import annotations

from dataclasses import dataclass

from .. import _http
from .._http import Forward, Reason

NAME = "redis-fastapi"
"""The name of this cache in Cache-Status."""

HIT, STALE, MISS, BYPASS = b"HIT", b"STALE", b"MISS", b"BYPASS"

_HIT = f"{NAME}; hit".encode()


@dataclass(slots=True)
class CacheStatus:
    """How one request has used the cache so far.

    Attributes:
        state: Value of X-Redis-Cache; None sends none.
        forward: Why the endpoint ran; None if it did not.
        reason: Why its response is not stored.
        key: Digest that names the entry.
        ttl: Seconds that the response stays fresh; None means no expiry.
        stored: Whether the response is being stored.
        collapsed: Whether it waited for another request's run.
        local: Whether the response came from the local tier.
        failed: Status code of the endpoint's response, if a stale entry was sent instead.
    """

    state: bytes | None = BYPASS
    forward: Forward | None = Forward.BYPASS
    reason: Reason | None = None
    key: str | None = None
    ttl: int | None = None
    stored: bool = False
    collapsed: bool = False
    local: bool = False
    failed: int | None = None

    def hit(self, ttl: int | None, *, collapsed: bool, local: bool) -> None:
        """The response came from the cache, or from another request's run."""
        self.state, self.ttl, self.collapsed, self.local = HIT, ttl, collapsed, local
        self.forward = Forward.MISS if collapsed else None

    def stale(self, ttl: int) -> None:
        """The response came from the cache, past its lifetime."""
        self.state, self.ttl, self.forward = STALE, ttl, None

    def stand_in(self, ttl: int, status: int) -> None:
        """The endpoint failed with this status code, and a stale response is sent instead."""
        self.state, self.ttl, self.forward = STALE, ttl, Forward.STALE
        self.failed = status

    def miss(self, forward: Forward) -> None:
        """The endpoint runs, and its response may be stored."""
        self.state, self.forward = MISS, forward

    def bypass(self, reason: Reason, forward: Forward = Forward.BYPASS) -> None:
        """The endpoint runs, and its response is not stored."""
        self.state, self.forward, self.reason = BYPASS, forward, reason

    def fields(self, *, debug: bool) -> list[tuple[bytes, bytes]]:
        """The header fields to send; `debug` adds the key, and the reason as detail."""
        status = self._plain_hit() if not debug else None
        state = [] if self.state is None else [(b"x-redis-cache", self.state)]
        return [*state, (b"cache-status", status or self._status(debug))]

    def _plain_hit(self) -> bytes | None:
        if self.state is not HIT or self.collapsed:
            return None
        return _HIT if self.ttl is None else b"%b; ttl=%d" % (_HIT, self.ttl)

    def _status(self, debug: bool) -> bytes:
        return _http.cache_status(
            NAME,
            hit=self.forward is None and self.state in (HIT, STALE),
            fwd=self.forward,
            fwd_status=self.failed,
            ttl=self.ttl,
            stored=self.stored,
            collapsed=self.collapsed,
            key=self.key if debug else None,
            detail=self.reason.value if debug and self.reason else None,
        )
