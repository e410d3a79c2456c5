"""Field lines, and parsers for the grammars that fields share (RFC 9110 section 5).

Headers are ASGI raw headers: lines in order, names in lower case, values as bytes. Malformed input
never raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TypeAlias

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

OWS = b" \t"

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_DELIMITER = re.compile(rb'[",]')
_QUOTED = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_DIGITS = re.compile(rb"[0-9]+")


def lower_names(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Return the fields with names in lower case, as ASGI requires and all rules expect."""
    return [(name.lower(), value) for name, value in headers]


def field_lines(headers: Headers, name: bytes) -> list[bytes]:
    """Return the values of all lines of a field, in order and without surrounding whitespace."""
    return [value.strip(OWS) for key, value in headers if key == name]


def singleton(headers: Headers, name: bytes) -> bytes | None:
    """Return the value of a field that occurs exactly once; None if it is absent or repeated."""
    lines = field_lines(headers, name)
    return lines[0] if len(lines) == 1 else None


def list_elements(headers: Headers, name: bytes) -> Iterator[bytes]:
    """Yield the elements of a list field in all its lines, without empty ones (section 5.6.1)."""
    for line in field_lines(headers, name):
        for element in split_list(line):
            if stripped := element.strip(OWS):
                yield stripped


def split_list(value: bytes) -> list[bytes]:
    """Split at commas outside quoted strings; after an unclosed quote, at every comma."""
    elements: list[bytes] = []
    start = position = 0
    while delimiter := _DELIMITER.search(value, position):
        if delimiter[0] == b",":
            elements.append(value[start : delimiter.start()])
            start = position = delimiter.end()
        elif quoted := _QUOTED.match(value, delimiter.start()):
            position = quoted.end()
        else:
            return elements + value[start:].split(b",")
    return [*elements, value[start:]]


def unquote(value: bytes) -> bytes:
    """Return the content of a quoted string, or the value itself if it is not quoted."""
    if _QUOTED.fullmatch(value):
        return _QUOTED_PAIR.sub(rb"\1", value[1:-1])
    return value


def is_token(value: bytes) -> bool:
    """Whether the value is a token (section 5.6.2), like field names, directives and units."""
    return _TOKEN.fullmatch(value) is not None


def bounded_decimal(digits: bytes, *, ceiling: int) -> int | None:
    """Parse a decimal number of any length, capped at `ceiling`; None if it is malformed."""
    if not _DIGITS.fullmatch(digits):
        return None
    significant = digits.lstrip(b"0")
    if len(significant) > len(str(ceiling)):
        return ceiling
    return min(int(significant or b"0"), ceiling)
