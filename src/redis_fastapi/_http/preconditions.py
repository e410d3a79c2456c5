"""Conditional requests: whether to send 304, 412 or the response itself (RFC 9110 section 13)."""

from __future__ import annotations

from enum import Enum
from typing import Final

from .fields import Headers
from .validators import TagList, Validators, date_field_ms, tag_list

_SELECTS_NOTHING: Final = frozenset({"CONNECT", "OPTIONS", "TRACE"})
_READS: Final = frozenset({"GET", "HEAD"})
PRECONDITION_FIELDS: Final = frozenset(
    {b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"}
)


def has_preconditions(request_headers: Headers) -> bool:
    """Whether a request has a conditional field other than If-Range."""
    return any(name in PRECONDITION_FIELDS for name, _ in request_headers)


class Outcome(Enum):
    """The result of evaluating a request's preconditions."""

    PROCEED = "proceed"
    NOT_MODIFIED = "not-modified"
    PRECONDITION_FAILED = "precondition-failed"


def evaluate_preconditions(
    method: str,
    request_headers: Headers,
    current: Validators | None,
    *,
    now_ms: int,
    status: int = 200,
) -> Outcome:
    """Evaluate preconditions in the order of RFC 9110 section 13.2.2.

    Args:
        method: Of the request, in upper case.
        request_headers: Of the request.
        current: Validators of the representation that would be sent, or that a write would
            replace; None if there is none.
        now_ms: Milliseconds since 1970; determines the century of dates with a two-digit year.
        status: Of the response without preconditions, which apply to 2xx only (section 13.2.1).
    """
    if not _applicable(method, request_headers, status):
        return Outcome.PROCEED
    if _refused_by_match(request_headers, current, now_ms):
        return Outcome.PRECONDITION_FAILED
    if not _unchanged(method, request_headers, current, now_ms):
        return Outcome.PROCEED
    return Outcome.NOT_MODIFIED if method in _READS else Outcome.PRECONDITION_FAILED


def _applicable(method: str, request_headers: Headers, status: int) -> bool:
    if method in _SELECTS_NOTHING or not 200 <= status < 300:
        return False
    return has_preconditions(request_headers)


def _refused_by_match(request_headers: Headers, current: Validators | None, now_ms: int) -> bool:
    if (wanted := tag_list(request_headers, b"if-match")) is not None:
        return not _if_match(wanted, current)
    date_ms = date_field_ms(request_headers, b"if-unmodified-since", now_ms=now_ms)
    if date_ms is None or current is None or current.last_modified_ms is None:
        return False
    return current.last_modified_ms > date_ms


def _if_match(wanted: TagList, current: Validators | None) -> bool:
    if current is None:
        return False
    etag = current.etag
    return wanted.any or (etag is not None and any(map(etag.strongly_equals, wanted.tags)))


def _unchanged(
    method: str, request_headers: Headers, current: Validators | None, now_ms: int
) -> bool:
    if (known := tag_list(request_headers, b"if-none-match")) is not None:
        return _any_known(known, current)
    if method not in _READS or current is None:
        return False
    date_ms = date_field_ms(request_headers, b"if-modified-since", now_ms=now_ms)
    changed_ms = current.last_modified_ms
    if changed_ms is None:
        changed_ms = current.received_ms
    return date_ms is not None and changed_ms is not None and changed_ms <= date_ms


def _any_known(known: TagList, current: Validators | None) -> bool:
    if current is None:
        return False
    etag = current.etag
    return known.any or (etag is not None and any(map(etag.weakly_equals, known.tags)))
