"""Fields that describe a representation, and are removed from responses without one."""

from __future__ import annotations

from typing import Final

from .fields import OWS, Headers, bounded_decimal, singleton

_KEPT_CONTENT_FIELDS: Final = (b"content-location", b"content-security-policy")
_REPRESENTATION_FIELDS: Final = frozenset(
    {b"digest", b"repr-digest", b"trailer", b"transfer-encoding"}
)
_FIELDS_OF_A_SUCCESS: Final = frozenset(
    {
        b"accept-ranges",
        b"age",
        b"cache-control",
        b"cdn-cache-control",
        b"content-location",
        b"etag",
        b"expires",
        b"last-modified",
    }
)


def not_modified_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the fields of a 200 that a 304 keeps (RFC 9110 section 15.4.5).

    Fields about the representation are removed except for Content-Location and validators;
    Last-Modified is kept only if there is no ETag by which to update a stored response.
    """
    has_etag = any(name == b"etag" for name, _ in headers)
    return [
        (name, value)
        for name, value in headers
        if not _describes_content(name) and not (has_etag and name == b"last-modified")
    ]


def failure_headers(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the fields of a 200 that a 412 or 416 keeps: none about the representation.

    Its lifetime is removed as well, so that no downstream cache stores the failure.
    """
    return [
        (name, value)
        for name, value in headers
        if not _describes_content(name) and name not in _FIELDS_OF_A_SUCCESS
    ]


def _describes_content(name: bytes) -> bool:
    if name.startswith(b"content-"):
        return not name.startswith(_KEPT_CONTENT_FIELDS)
    return name in _REPRESENTATION_FIELDS


def announced_length(headers: Headers) -> int | None:
    """The body's size in bytes according to Content-Length; None if absent or malformed."""
    value = singleton(headers, b"content-length")
    return None if value is None else bounded_decimal(value, ceiling=2**63)


def is_event_stream(headers: Headers) -> bool:
    """Whether a response is a stream of server-sent events, which lasts until a disconnect."""
    media_type = singleton(headers, b"content-type") or b""
    return media_type.split(b";")[0].strip(OWS).lower() == b"text/event-stream"
