"""Variants selected by a response's own Vary (RFC 9111 section 4.1).

- An entry whose response varies by header fields that are not in its key records the values that
  selected it.
- A request with other values continues at a target made of those field names and its own values,
  and looks up again. So the first response is stored at the resource's own target and leads to the
  other variants. An entry that does not match the request is never used.
- The number of targets per resource is bounded, so two variants may share one; the later one stays.
- All variants belong to the generation of their path, and to the groups of the resource.
"""

from __future__ import annotations

from .. import _http
from .._http import Headers
from .._redis.entry import Entry
from .._redis.keys import Target, digest

_SELECTED = b"x-redis-fastapi-selected"
"""The last stored field of such an entry: field names, and a digest of the values."""

MOST_STEPS = 3
"""Upper bound on the lookups from a resource to its variant."""


def selection(headers: Headers, keyed: tuple[str, ...], request: Headers) -> Headers:
    """The field to store last, if a response varies by fields that are not in its key.

    Args:
        headers: All fields of the response, including those that are not stored.
        keyed: Names of the fields in the key.
        request: The fields of the request.
    """
    found = _http.vary_names(headers)
    names = () if found is _http.STAR else tuple(n for n in found if n.decode() not in keyed)
    if not names:
        return ()
    return ((_SELECTED, b"%b %b" % (b",".join(names), _digest(names, request).encode())),)


def without_selection(stored: Headers) -> Headers:
    """The stored fields that belong to the response itself."""
    return stored[:-1] if stored and stored[-1][0] == _SELECTED else stored


def matches(entry: Entry, request: Headers) -> bool:
    """Whether an entry is the variant for a request with these headers."""
    stored = entry.headers
    if not stored or stored[-1][0] != _SELECTED:
        return True
    names, selected = _selection(stored[-1][1])
    return selected == _digest(names, request)


def variant_of(target: Target, entry: Entry, request: Headers) -> Target:
    """The next target to look up, if the entry at this one does not match."""
    names, _ = _selection(entry.headers[-1][1])
    place = _digest(names, request)[:2]
    return target.variant([*(name.decode("latin-1") for name in names), place])


def _selection(value: bytes) -> tuple[tuple[bytes, ...], str]:
    names, _, selected = value.partition(b" ")
    return tuple(names.split(b",")), selected.decode("latin-1")


def _digest(names: tuple[bytes, ...], request: Headers) -> str:
    return digest([_http.selecting_key(names, request).decode("latin-1")])
