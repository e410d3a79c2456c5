"""Assertions about a response's cache status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class HasHeaders(Protocol):
    """A response of any client."""

    @property
    def headers(self) -> Mapping[str, str]: ...


_MEANING = {
    "HIT": "it came from the cache",
    "STALE": "it came from the cache, past its lifetime or softly evicted",
    "MISS": "the endpoint ran, and its response was stored if it may be",
    "BYPASS": "the endpoint ran and nothing was stored: Redis is away, or the response may not be "
    "stored (the logger 'redis_fastapi' says why)",
    None: "the endpoint declares no caching, caching is off or not set up, or the request said "
    "no-store",
}


def assert_hit(response: HasHeaders) -> None:
    """Fail unless the response came from the cache."""
    __tracebackhide__ = True
    _assert_state(response, "HIT")


def assert_miss(response: HasHeaders) -> None:
    """Fail unless the endpoint ran because nothing valid was cached."""
    __tracebackhide__ = True
    _assert_state(response, "MISS")


def assert_stale(response: HasHeaders) -> None:
    """Fail unless the response came from the cache past its lifetime, or softly evicted."""
    __tracebackhide__ = True
    _assert_state(response, "STALE")


def assert_bypass(response: HasHeaders) -> None:
    """Fail unless the endpoint ran without the cache, for example because Redis is unreachable."""
    __tracebackhide__ = True
    _assert_state(response, "BYPASS")


def assert_not_cached(response: HasHeaders) -> None:
    """Fail if the cache took any part in the response."""
    __tracebackhide__ = True
    _assert_state(response, None)


def _assert_state(response: HasHeaders, expected: str | None) -> None:
    __tracebackhide__ = True
    found = response.headers.get("x-redis-cache")
    if found != expected:
        meaning = _MEANING.get(found, "no state of this library")
        raise AssertionError(
            f"expected {_shown(expected)}, got {_shown(found)}{_place(response)}: {meaning}"
        )


def _shown(state: str | None) -> str:
    return f"X-Redis-Cache: {state}" if state else "no X-Redis-Cache"


def _place(response: HasHeaders) -> str:
    """The request that it belongs to, if the client's response has it."""
    try:
        request = getattr(response, "request", None)
    except RuntimeError:  # httpx, of a response that no request got
        return ""
    if request is None:
        return ""
    return f" from {request.method} {request.url} ({getattr(response, 'status_code', '?')})"
