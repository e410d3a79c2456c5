"""The response that a request gets from a stored one: whole, or as 206, 304, 412 or 416."""

from __future__ import annotations

from typing import Final

from .directives import DIRECTIVE_FIELDS
from .fields import Headers
from .preconditions import PRECONDITION_FIELDS, Outcome, evaluate_preconditions
from .ranges import Message, Whole, range_message, select_ranges
from .representation import failure_headers, not_modified_headers
from .validators import validators_of

_CONDITIONS: Final = PRECONDITION_FIELDS | {b"range"}
_CACHING_FIELDS: Final = _CONDITIONS | DIRECTIVE_FIELDS
_NO_CONTENT: Final = (b"content-length", b"0")


def unconditional(request_headers: Headers) -> bool:
    """Whether a request has neither conditional fields nor a range."""
    return _CONDITIONS.isdisjoint([name for name, _ in request_headers])


def conditions(request_headers: Headers) -> list[tuple[bytes, bytes]]:
    """The conditional and range fields of a request."""
    return [pair for pair in request_headers if pair[0] in _CONDITIONS]


def caching_fields(request_headers: Headers) -> list[tuple[bytes, bytes]]:
    """The conditional, range and directive fields of a request."""
    return [pair for pair in request_headers if pair[0] in _CACHING_FIELDS]


def conditional_message(
    method: str,
    request_headers: Headers,
    *,
    status: int,
    headers: Headers,
    body: bytes,
    received_ms: int | None,
    now_ms: int,
    boundary: bytes,
) -> Message:
    """The response to a GET or HEAD, from a stored one: preconditions first, then ranges.

    This is the order of RFC 9110 section 13.2.2. Every response that may have content carries its
    Content-Length; a response to HEAD has that of the GET, and no body.

    Args:
        method: Of the request.
        request_headers: Of the request.
        status: Stored status code.
        headers: Stored fields, including those set for this request (Age, Cache-Control, ...).
        body: Stored body.
        received_ms: When the response was stored, in milliseconds since 1970; None if it was just
            computed.
        now_ms: Time of the request, in milliseconds since 1970.
        boundary: Unpredictable separator for multiple ranges.

    Returns:
        Status code, header fields and body.
    """
    if unconditional(request_headers):
        return _without_body_of_head(
            method, range_message(Whole(), status, headers, body, boundary=boundary)
        )
    current = validators_of(headers, now_ms=now_ms, received_ms=received_ms)
    outcome = evaluate_preconditions(method, request_headers, current, now_ms=now_ms, status=status)
    if outcome is Outcome.NOT_MODIFIED:
        return 304, not_modified_headers(headers), b""
    if outcome is Outcome.PRECONDITION_FAILED:
        return 412, [*failure_headers(headers), _NO_CONTENT], b""
    choice = select_ranges(
        method,
        request_headers,
        headers,
        current,
        status=status,
        length=len(body),
        now_ms=now_ms,
    )
    message = range_message(choice, status, headers, body, boundary=boundary)
    return _without_body_of_head(method, message)


def _without_body_of_head(method: str, message: Message) -> Message:
    return (*message[:2], b"") if method == "HEAD" else message
