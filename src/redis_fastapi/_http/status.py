"""The Cache-Status response header (RFC 9211), a structured field item (RFC 9651)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from typing import Final

_TOKEN: Final = re.compile(r"[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*")
_LARGEST_INTEGER: Final = 999_999_999_999_999
_STATUSES_KNOWN: Final = 256
_PLAIN: Final = frozenset(range(0x20, 0x7F)) - {0x25}


class Forward(Enum):
    """Why a request was forwarded to the endpoint (RFC 9211 section 2.2)."""

    BYPASS = "bypass"
    METHOD = "method"
    URI_MISS = "uri-miss"
    VARY_MISS = "vary-miss"
    MISS = "miss"
    REQUEST = "request"
    STALE = "stale"


@lru_cache(_STATUSES_KNOWN)
def cache_status(
    name: str,
    *,
    hit: bool = False,
    fwd: Forward | None = None,
    fwd_status: int | None = None,
    ttl: int | None = None,
    stored: bool = False,
    collapsed: bool = False,
    key: str | None = None,
    detail: str | None = None,
) -> bytes:
    """Build one member of Cache-Status.

    Args:
        name: Of this cache.
        hit: Whether the response is from the cache; parameters about forwarding are then omitted.
        fwd: Why the request was forwarded.
        fwd_status: Status code of the endpoint's response, if it differs from the one sent.
        ttl: Remaining freshness lifetime in seconds, negative if stale.
        stored: Whether the endpoint's response was stored.
        collapsed: Whether the request shared another one's computation.
        key: Of the entry.
        detail: Any other information in a word, such as the value of a `Reason`.
    """
    parameters = ["hit"] if hit else list(_forwarding(fwd, fwd_status, stored, collapsed))
    if ttl is not None:
        parameters.append(f"ttl={_integer(ttl)}")
    if key is not None:
        parameters.append(f"key={_string(key)}")
    if detail is not None:
        parameters.append(f"detail={_token_or_string(detail)}")
    return "; ".join([_token_or_string(name), *parameters]).encode("ascii")


def _forwarding(
    fwd: Forward | None, fwd_status: int | None, stored: bool, collapsed: bool
) -> Iterator[str]:
    if fwd is None:
        return
    yield f"fwd={fwd.value}"
    if fwd_status is not None:
        yield f"fwd-status={_integer(fwd_status)}"
    if stored:
        yield "stored"
    if collapsed:
        yield "collapsed"


def _integer(value: int) -> int:
    return max(-_LARGEST_INTEGER, min(value, _LARGEST_INTEGER))


def _token_or_string(text: str) -> str:
    return text if _TOKEN.fullmatch(text) else _string(text)


def _string(text: str) -> str:
    octets = text.encode("utf-8", "surrogatepass")
    plain = "".join(chr(octet) if octet in _PLAIN else f"%{octet:02X}" for octet in octets)
    escaped = plain.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
