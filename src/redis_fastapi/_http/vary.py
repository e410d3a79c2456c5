"""Vary: request fields that select among the stored responses of a URI (RFC 9111 section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Final, Literal, TypeAlias

from .fields import Headers, field_lines, is_token, list_elements

_CASE_INSENSITIVE: Final = frozenset({b"accept-charset", b"accept-encoding", b"accept-language"})


class _Star(Enum):
    STAR = "*"


STAR: Final = _Star.STAR
"""The response depends on more than request fields, so that no stored one can be selected."""

VaryNames: TypeAlias = tuple[bytes, ...] | Literal[_Star.STAR]


def vary_names(headers: Headers) -> VaryNames:
    """Return the names in Vary, in lower case, sorted and unique; `STAR` if one cannot match."""
    if not field_lines(headers, b"vary"):
        return ()
    names = {element.lower() for element in list_elements(headers, b"vary")}
    if b"*" in names or not all(map(is_token, names)):
        return STAR
    return tuple(sorted(names))


def merged_vary(headers: Headers, names: Iterable[bytes]) -> bytes | None:
    """Return a Vary value with the response's names and `names`; None if there are none."""
    own = vary_names(headers)
    if own is STAR:
        return b"*"
    merged = sorted({*own, *(name.lower() for name in names)})
    if b"*" in merged:
        return b"*"
    return b", ".join(merged) if merged else None


def selecting_key(names: Iterable[bytes], request_headers: Headers) -> bytes:
    """Return the request's values of the fields as bytes; different ones never give the same.

    Lines are combined, whitespace around commas is normalised, and values of fields that are
    defined as case-insensitive are lower-cased.
    """
    return b"".join(
        _netstring(name) + _netstring(_selecting_value(name, request_headers)) for name in names
    )


def _selecting_value(name: bytes, request_headers: Headers) -> bytes | None:
    if not any(key == name for key, _ in request_headers):
        return None
    value = b", ".join(list_elements(request_headers, name))
    return value.lower() if name in _CASE_INSENSITIVE else value


def _netstring(part: bytes | None) -> bytes:
    return b"-" if part is None else b"%d:%b" % (len(part), part)
