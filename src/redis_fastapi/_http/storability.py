"""Which responses may be stored, and with which fields (RFC 9111 section 3)."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from .directives import ResponseDirectives, response_directives
from .fields import (
    Headers,
    bounded_decimal,
    field_lines,
    is_token,
    list_elements,
    lower_names,
)
from .reasons import Reason
from .vary import STAR, vary_names

DEFAULT_STATUSES: Final = frozenset({200, 201, 202, 203})
"""The 2xx status codes whose body is a complete representation."""

_CONDITIONAL_STATUSES: Final = frozenset({304, 412, 416})
_NEVER_STORED: Final = frozenset(
    {
        b"age",
        b"cache-status",
        b"connection",
        b"content-length",
        b"date",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-redis-cache",
    }
)
_FRAMING_BYTES_PER_LINE: Final = len(b": \r\n")
_FORBIDDEN_IN_VALUE: Final = re.compile(rb"[\x00\r\n]")


def storage_refusal(
    status: int,
    headers: Headers,
    *,
    body_size: int,
    max_body_size: int,
    max_header_size: int,
    lifetime_ms: int | None,
    allowed_statuses: Collection[int] = DEFAULT_STATUSES,
    shared: bool = False,
) -> Reason | None:
    """Return the first reason not to store a response to GET, or None if it may be stored.

    Args:
        status: Of the response.
        headers: The endpoint's own, before the cache adds any; names in any case.
        body_size: Bytes of the body; of a stream that exceeds the limit, bytes so far.
        max_body_size: Limit in bytes.
        max_header_size: Limit in bytes for the fields that would be stored.
        lifetime_ms: Remaining freshness lifetime in milliseconds; None means no expiry.
        allowed_statuses: Status codes that the route stores; never 206, 304, 412 or 416.
        shared: Whether the entry would serve more than one user.
    """
    headers = lower_names(headers)
    directives = response_directives(headers)
    return (
        _refused_by_status(status, headers, allowed_statuses)
        or body_refusal(headers, body_size, max_body_size)
        or _refused_by_directives(directives, understood=status in allowed_statuses, shared=shared)
        or _refused_by_lifetime(lifetime_ms)
        or _refused_by_fields(headers, directives, max_header_size)
    )


def storable_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the fields to store, with names in lower case and repeated ones in order.

    Not stored are fields about the connection or this message alone (Date, Age, framing, cookies,
    the cache's own), and those named by Connection, `private="..."` or `no-cache="..."`
    (RFC 9110 section 7.6.1, RFC 9111 sections 3.1, 5.2.2.4 and 5.2.2.7).
    """
    lowered = lower_names(headers)
    return _storable(lowered, response_directives(lowered))


def body_refusal(headers: Headers, size: int, most: int) -> Reason | None:
    """Return the reason not to store a response with this complete body, or None.

    Args:
        headers: Of the response, names in lower case.
        size: Bytes of the body.
        most: Limit in bytes.
    """
    if size > most:
        return Reason.BODY_TOO_LARGE
    announced = field_lines(headers, b"content-length")
    # the usual length first: reading a number costs more than writing one
    if announced != [b"%d" % size] and any(_announces_other(one, size) for one in announced):
        return Reason.UNFINISHED
    return None


def header_block_size(headers: Headers) -> int:
    """Return the size of header fields on the wire, in bytes."""
    return sum(len(name) + len(value) + _FRAMING_BYTES_PER_LINE for name, value in headers)


def _storable(headers: Headers, directives: ResponseDirectives) -> list[tuple[bytes, bytes]]:
    excluded = _NEVER_STORED.union(
        (option.lower() for option in list_elements(headers, b"connection")),
        directives.private_fields,
        directives.no_cache_fields,
    )
    return [(name, value) for name, value in headers if name not in excluded]


def _refused_by_status(
    status: int, headers: Headers, allowed_statuses: Collection[int]
) -> Reason | None:
    if status == 206 or field_lines(headers, b"content-range"):
        return Reason.PARTIAL_CONTENT
    if status < 200 or status in _CONDITIONAL_STATUSES or status not in allowed_statuses:
        return Reason.STATUS
    return None


def _announces_other(content_length: bytes, body_size: int) -> bool:
    return bounded_decimal(content_length, ceiling=2**63) != body_size


def _refused_by_directives(
    directives: ResponseDirectives, *, understood: bool, shared: bool
) -> Reason | None:
    if directives.no_store and not (directives.must_understand and understood):
        return Reason.NO_STORE
    if directives.no_cache:
        return Reason.NO_CACHE
    return Reason.PRIVATE if shared and directives.private else None


def _refused_by_lifetime(lifetime_ms: int | None) -> Reason | None:
    return Reason.STALE if lifetime_ms is not None and lifetime_ms <= 0 else None


def _refused_by_fields(
    headers: Headers, directives: ResponseDirectives, max_header_size: int
) -> Reason | None:
    if vary_names(headers) is STAR:
        return Reason.VARY_STAR
    kept = _storable(headers, directives)
    if not all(_well_formed(name, value) for name, value in kept):
        return Reason.MALFORMED_HEADER
    return Reason.HEADERS_TOO_LARGE if header_block_size(kept) > max_header_size else None


def _well_formed(name: bytes, value: bytes) -> bool:
    return is_token(name) and not _FORBIDDEN_IN_VALUE.search(value)
