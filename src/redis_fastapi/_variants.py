"""Variants that an answer's own Vary selects (RFC 9111 section 4.1).

- An entry whose answer names header fields that are not in its key says which values selected it.
- A request with other values goes on to the place of these names and its values, and there asks
  again. So the first answer of a resource stands where it would stand anyway, and its names lead
  to the others; a look-up believes no entry that does not match the request itself.
- A resource has a bounded number of places, so two variants may meet in one: the later one stays.
- All of them belong to the generation of their path, and to the groups of the resource.
"""

from __future__ import annotations

from . import _http
from ._entry import Entry
from ._http import Headers
from ._keys import Target, digest

_SELECTED = b"x-redis-fastapi-selected"
"""Last stored field of an entry that its own Vary selects: names, and a digest of the values."""

MOST_STEPS = 3
"""From the place of a resource to that of a variant."""


def selection(answer: Headers, keyed: tuple[str, ...], request: Headers) -> Headers:
    """The field to store last, where an answer names what is not in its key; else none.

    Args:
        answer: All fields of the answer, also those that are not stored.
        keyed: Names of the fields in the key.
        request: The fields of the request.
    """
    found = _http.vary_names(answer)
    names = () if found is _http.STAR else tuple(n for n in found if n.decode() not in keyed)
    if not names:
        return ()
    return ((_SELECTED, b"%b %b" % (b",".join(names), _digest(names, request).encode())),)


def without_selection(stored: Headers) -> Headers:
    """The fields of an answer, of those that are stored."""
    return stored[:-1] if stored and stored[-1][0] == _SELECTED else stored


def matches(entry: Entry, request: Headers) -> bool:
    """Whether an entry answers a request with these headers."""
    stored = entry.headers
    if not stored or stored[-1][0] != _SELECTED:
        return True
    names, selected = _selection(stored[-1][1])
    return selected == _digest(names, request)


def variant_of(target: Target, entry: Entry, request: Headers) -> Target:
    """The next place to look at, where the entry at this one does not match."""
    names, _ = _selection(entry.headers[-1][1])
    place = _digest(names, request)[:2]
    return target.variant([*(name.decode("latin-1") for name in names), place])


def _selection(value: bytes) -> tuple[tuple[bytes, ...], str]:
    names, _, selected = value.partition(b" ")
    return tuple(names.split(b",")), selected.decode("latin-1")


def _digest(names: tuple[bytes, ...], request: Headers) -> str:
    return digest([_http.selecting_key(names, request).decode("latin-1")])
