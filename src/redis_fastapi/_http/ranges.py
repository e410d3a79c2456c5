"""Byte ranges of a stored response: 206, 416 or the whole response (RFC 9110 section 14).

A request for more than `MAX_RANGES` ranges gets the whole response. Overlapping and adjacent ranges
are merged, so that no byte is sent twice (section 14.2).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from .dates import http_date_ms
from .fields import (
    OWS,
    Headers,
    bounded_decimal,
    field_lines,
    list_elements,
    singleton,
)
from .representation import failure_headers
from .validators import Validators, parse_etag

MAX_RANGES: Final = 16
"""Ranges that a request may have; with more, all are ignored."""

_RANGE_SPEC: Final = re.compile(rb"(?:([0-9]+)-([0-9]*)|-([0-9]+))")
_LARGEST_POSITION: Final = 2**63 - 1
_STRONG_AFTER_MS: Final = 1000
_WITHOUT_CONTENT: Final = frozenset({204, 304})

Message: TypeAlias = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status code, header fields and body."""


@dataclass(frozen=True, slots=True, order=True)
class ByteRange:
    """Positions of the first and last byte, both inclusive."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Whole:
    """The whole response: no range was requested, or none applies."""


@dataclass(frozen=True, slots=True)
class Single:
    """206 with one range."""

    part: ByteRange


@dataclass(frozen=True, slots=True)
class Multiple:
    """206 with multiple ranges as multipart/byteranges, in the order of the request."""

    parts: tuple[ByteRange, ...]


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """416: every range begins after the end of the body."""


RangeChoice: TypeAlias = Whole | Single | Multiple | Unsatisfiable
_Spec: TypeAlias = tuple[int | None, int | None]


def select_ranges(
    method: str,
    request_headers: Headers,
    headers: Headers,
    validators: Validators,
    *,
    status: int,
    length: int,
    now_ms: int,
) -> RangeChoice:
    """Select the part of a stored response that a request gets, once its preconditions hold.

    Args:
        method: Of the request; Range applies to GET only.
        request_headers: Of the request.
        headers: Of the stored response; `Accept-Ranges: none` disables ranges.
        validators: Of the stored response, for If-Range.
        status: Of the stored response; only a 200 has ranges.
        length: Size of its body in bytes.
        now_ms: Milliseconds since 1970; determines the century of dates with a two-digit year.
    """
    if method != "GET" or status != 200 or not _ranges_accepted(headers):
        return Whole()
    specs = _requested(request_headers)
    if not specs or not _if_range(request_headers, validators, now_ms):
        return Whole()
    return _chosen(specs, length)


def range_message(
    choice: RangeChoice,
    status: int,
    headers: Headers,
    body: bytes,
    *,
    boundary: bytes,
) -> Message:
    """Return the message with the selected part of a stored response, and its Content-Length.

    `boundary` separates the parts of multiple ranges; it must be unpredictable, so that no body
    can contain it.
    """
    if isinstance(choice, Single):
        return _single(choice.part, headers, body)
    if isinstance(choice, Multiple):
        return _multipart(choice.parts, headers, body, boundary)
    if isinstance(choice, Unsatisfiable):
        return _unsatisfiable(headers, len(body))
    return _whole(status, headers, body)


def _ranges_accepted(headers: Headers) -> bool:
    return b"none" not in [unit.lower() for unit in list_elements(headers, b"accept-ranges")]


def _requested(request_headers: Headers) -> list[_Spec]:
    unit, _, range_set = (singleton(request_headers, b"range") or b"").partition(b"=")
    elements = [element for part in range_set.split(b",") if (element := part.strip(OWS))]
    if unit.lower() != b"bytes" or len(elements) > MAX_RANGES:
        return []
    specs = [spec for element in elements if (spec := _spec(element)) is not None]
    return specs if len(specs) == len(elements) else []


def _spec(element: bytes) -> _Spec | None:
    match = _RANGE_SPEC.fullmatch(element)
    if match is None:
        return None
    first, last, suffix = (_position(digits) for digits in match.groups())
    if first is None:
        return None, suffix
    return None if last is not None and last < first else (first, last)


def _position(digits: bytes | None) -> int | None:
    return bounded_decimal(digits, ceiling=_LARGEST_POSITION) if digits else None


def _if_range(request_headers: Headers, validators: Validators, now_ms: int) -> bool:
    if not field_lines(request_headers, b"if-range"):
        return True
    value = singleton(request_headers, b"if-range") or b""
    if (wanted := parse_etag(value)) is not None:
        return validators.etag is not None and validators.etag.strongly_equals(wanted)
    date_ms = http_date_ms(value, now_ms=now_ms)
    return date_ms is not None and date_ms == _strong_date_ms(validators)


def _strong_date_ms(validators: Validators) -> int | None:
    modified_ms, received_ms = validators.last_modified_ms, validators.received_ms
    if modified_ms is None or received_ms is None:
        return None
    return modified_ms if received_ms - modified_ms >= _STRONG_AFTER_MS else None


def _chosen(specs: Sequence[_Spec], length: int) -> RangeChoice:
    if length == 0 and any(first is None and suffix for first, suffix in specs):
        return Whole()
    satisfiable = [part for spec in specs if (part := _resolved(spec, length)) is not None]
    if not satisfiable:
        return Unsatisfiable()
    parts = _coalesced(satisfiable)
    return Single(parts[0]) if len(parts) == 1 else Multiple(tuple(parts))


def _resolved(spec: _Spec, length: int) -> ByteRange | None:
    first, last = spec
    if first is None:
        first, last = length - min(last or 0, length), None
    if first >= length:
        return None
    return ByteRange(first, length - 1 if last is None else min(last, length - 1))


def _coalesced(requested: Sequence[ByteRange]) -> list[ByteRange]:
    merged: list[ByteRange] = []
    for part in sorted(requested):
        if merged and part.first <= merged[-1].last + 1:
            merged[-1] = ByteRange(merged[-1].first, max(merged[-1].last, part.last))
        else:
            merged.append(part)
    return sorted(merged, key=lambda whole: _first_requested(whole, requested))


def _first_requested(whole: ByteRange, requested: Sequence[ByteRange]) -> int:
    return next(
        index for index, part in enumerate(requested) if whole.first <= part.first <= whole.last
    )


def _whole(status: int, headers: Headers, body: bytes) -> Message:
    kept = _without(headers, b"content-length")
    framing = [] if status in _WITHOUT_CONTENT else [_content_length(body)]
    return status, [*kept, *framing], body


def _single(part: ByteRange, headers: Headers, body: bytes) -> Message:
    content = body[part.first : part.last + 1]
    kept = _without(headers, b"content-length", b"content-range")
    return 206, [*kept, _content_range(part, len(body)), _content_length(content)], content


def _multipart(
    parts: Sequence[ByteRange], headers: Headers, body: bytes, boundary: bytes
) -> Message:
    kept = _without(headers, b"content-length", b"content-range", b"content-type")
    media_type = singleton(headers, b"content-type")
    sections = [_section(part, media_type, body, boundary) for part in parts]
    content = b"".join([*sections, b"--%b--\r\n" % boundary])
    container = (b"content-type", b"multipart/byteranges; boundary=" + boundary)
    return 206, [*kept, container, _content_length(content)], content


def _section(part: ByteRange, media_type: bytes | None, body: bytes, boundary: bytes) -> bytes:
    name, content_range = _content_range(part, len(body))
    lines = [b"--" + boundary]
    if media_type is not None:
        lines.append(b"content-type: " + media_type)
    lines.append(b"%b: %b" % (name, content_range))
    return b"\r\n".join([*lines, b"", body[part.first : part.last + 1], b""])


def _unsatisfiable(headers: Headers, length: int) -> Message:
    unmatched = (b"content-range", b"bytes */%d" % length)
    return 416, [*failure_headers(headers), unmatched, _content_length(b"")], b""


def _without(headers: Headers, *names: bytes) -> list[tuple[bytes, bytes]]:
    return [line for line in headers if line[0] not in names]


def _content_range(part: ByteRange, length: int) -> tuple[bytes, bytes]:
    return b"content-range", b"bytes %d-%d/%d" % (part.first, part.last, length)


def _content_length(content: bytes) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % len(content)
