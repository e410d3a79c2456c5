"""Age, freshness and staleness of a stored response (RFC 9111 section 4.2, RFC 5861)."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Final, TypeAlias

from .dates import http_date_ms
from .directives import (
    DELTA_SECONDS_MAX,
    IGNORED,
    RequestDirectives,
    ResponseDirectives,
    response_directives,
)
from .fields import Headers, bounded_decimal, field_lines
from .status import Forward
from .validators import date_field_ms

STALE_IF_ERROR_STATUSES: Final = frozenset({500, 502, 503, 504})
"""Status codes that count as an error for stale-if-error (RFC 5861 section 4)."""

_MS: Final = 1000


@dataclass(frozen=True, slots=True)
class Fresh:
    """The stored response may be sent; `ttl` is its remaining lifetime in seconds.

    None means no expiry.
    """

    ttl: int | None


@dataclass(frozen=True, slots=True)
class Stale:
    """The stored response may be sent although it is stale.

    Attributes:
        ttl: Seconds since its expiry, negated; 0 in the first second.
        refresh: Whether to revalidate it in the background (RFC 5861 section 3).
    """

    ttl: int
    refresh: bool


@dataclass(frozen=True, slots=True)
class MustRevalidate:
    """The stored response may not be sent: run the endpoint, or send 504 to only-if-cached."""

    reason: Forward


Freshness: TypeAlias = Fresh | Stale | MustRevalidate


def age_seconds(*, created_ms: int, now_ms: int) -> int:
    """Return the Age to send, in whole seconds."""
    return max(0, now_ms - created_ms) // _MS


def prior_age(headers: Headers) -> int:
    """Return a response's Age in seconds: its first line, 0 if that is malformed (section 5.1)."""
    lines = field_lines(headers, b"age")
    age = bounded_decimal(lines[0], ceiling=DELTA_SECONDS_MAX) if lines else None
    return age or 0


def freshness_lifetime_ms(
    headers: Headers, *, ttl_ms: int | None, now_ms: int, shared: bool = False
) -> int | None:
    """How long a response stays fresh, in milliseconds: `ttl_ms`, or less if its headers say so.

    A response states its lifetime by s-maxage (for shared entries), else max-age, else Expires
    minus Date (RFC 9111 section 4.2.1). None means no expiry, 0 means already stale. The response's
    own Age is not subtracted, since it counts towards the response's age.
    """
    stated = _stated_lifetime_ms(headers, now_ms, shared)
    if stated is None:
        return ttl_ms
    return stated if ttl_ms is None else min(ttl_ms, stated)


def stale_forbidden(directives: ResponseDirectives, *, shared: bool = False) -> bool:
    """Whether the response may never be sent stale (RFC 9111 section 4.2.4)."""
    if directives.must_revalidate or directives.no_cache:
        return True
    return shared and (directives.proxy_revalidate or directives.s_maxage is not None)


def assess_freshness(
    directives: RequestDirectives,
    *,
    age_ms: int,
    lifetime_ms: int | None,
    stale_while_revalidate_ms: int = 0,
    never_stale: bool = False,
) -> Freshness:
    """Decide whether a stored response satisfies a request.

    Args:
        directives: The client's; `IGNORED` if it is not obeyed.
        age_ms: Current age in milliseconds, including the prior age.
        lifetime_ms: Freshness lifetime in milliseconds; None means no expiry.
        stale_while_revalidate_ms: Milliseconds after expiry in which it may be sent while it is
            refreshed.
        never_stale: Result of `stale_forbidden`.
    """
    if directives.no_cache:
        return MustRevalidate(Forward.REQUEST)
    if lifetime_ms is None:
        return _fresh(directives, age_ms, None)
    if age_ms < lifetime_ms:
        return _fresh(directives, age_ms, lifetime_ms - age_ms)
    staleness_ms = age_ms - lifetime_ms
    if never_stale or _wants_fresh(directives, age_ms):
        return MustRevalidate(Forward.STALE)
    return _stale(directives, staleness_ms, refresh=staleness_ms < stale_while_revalidate_ms)


def usable_on_error(
    directives: RequestDirectives,
    *,
    staleness_ms: int,
    stale_if_error_ms: int = 0,
    never_stale: bool = False,
) -> bool:
    """Whether a stored response may be sent in place of an error (RFC 5861 section 4).

    Response and request may both set a limit; if both do, the lower one applies.
    """
    if never_stale:
        return False
    limit_ms = stale_if_error_ms
    if directives.stale_if_error is not None:
        asked_ms = directives.stale_if_error * _MS
        limit_ms = min(asked_ms, limit_ms) if limit_ms > 0 else asked_ms
    return staleness_ms < limit_ms


def jittered_ttl_ms(ttl_ms: int, *, jitter: float, draw: float) -> int:
    """Shorten a lifetime by up to the fraction `jitter`, so that entries do not expire together.

    `draw` is uniform in [0, 1]; the result is at least one millisecond.
    """
    return max(1, round(ttl_ms * (1 - jitter * draw)))


def refresh_due_early(*, remaining_ms: int, cost_ms: float, beta: float, draw: float) -> bool:
    """Whether to refresh before expiry: likelier the nearer it is and the higher the cost (XFetch).

    Args:
        remaining_ms: Milliseconds until expiry.
        cost_ms: Milliseconds that computing the response took.
        beta: Eagerness; 0 means never.
        draw: Uniform in [0, 1).
    """
    if beta <= 0 or cost_ms <= 0:
        return False
    return -log(1 - draw) * cost_ms * beta >= remaining_ms


def _stated_lifetime_ms(headers: Headers, now_ms: int, shared: bool) -> int | None:
    directives = response_directives(headers)
    if shared and directives.s_maxage is not None:
        return directives.s_maxage * _MS
    if directives.max_age is not None:
        return directives.max_age * _MS
    return _expires_lifetime_ms(headers, now_ms)


def _expires_lifetime_ms(headers: Headers, now_ms: int) -> int | None:
    lines = field_lines(headers, b"expires")
    if not lines:
        return None
    expires_ms = http_date_ms(lines[0], now_ms=now_ms) if len(lines) == 1 else None
    if expires_ms is None:
        return 0
    date_ms = date_field_ms(headers, b"date", now_ms=now_ms)
    return max(0, expires_ms - (now_ms if date_ms is None else date_ms))


def _fresh(directives: RequestDirectives, age_ms: int, remaining_ms: int | None) -> Freshness:
    directed = directives is not IGNORED
    if directed and (_too_old(directives, age_ms) or _expires_too_soon(directives, remaining_ms)):
        return MustRevalidate(Forward.REQUEST)
    return Fresh(ttl=None if remaining_ms is None else remaining_ms // _MS)


def _stale(directives: RequestDirectives, staleness_ms: int, *, refresh: bool) -> Freshness:
    if refresh or _tolerated(directives, staleness_ms):
        return Stale(ttl=-(staleness_ms // _MS), refresh=refresh)
    return MustRevalidate(Forward.STALE)


def _wants_fresh(directives: RequestDirectives, age_ms: int) -> bool:
    if directives.max_age is not None and directives.max_stale is None:
        return True
    return directives.min_fresh is not None or _too_old(directives, age_ms)


def _too_old(directives: RequestDirectives, age_ms: int) -> bool:
    return directives.max_age is not None and age_ms >= directives.max_age * _MS


def _expires_too_soon(directives: RequestDirectives, remaining_ms: int | None) -> bool:
    if directives.min_fresh is None or remaining_ms is None:
        return False
    return remaining_ms < directives.min_fresh * _MS


def _tolerated(directives: RequestDirectives, staleness_ms: int) -> bool:
    return directives.max_stale is not None and staleness_ms <= directives.max_stale * _MS
