"""The rules for the values of a marker's arguments, each taken by itself.

Like the table in `rules.py`, to which they belong, they import neither FastAPI nor mypy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import inf
from typing import Final, TypeGuard

from .facts import EndpointFacts, PlacedMarker, Problem, Unknown, placed_markers, seconds_of

_CODE: Final = "redis-cache-value"

_LONGEST_TTL: Final = 100 * 366 * 24 * 60 * 60
"""Upper bound in seconds; a longer one is meant as no expiry, and Redis would refuse it."""

_NEVER_STORED: Final = frozenset({206, 304, 412, 416})
"""Parts, and responses to conditions and ranges."""

_DIRECTIVE: Final = re.compile(
    r"[!#$%&'*+.^_`|~\w-]+(?:=(?:[!#$%&'*+.^_`|~\w-]+|\"[^\"\\]*\"))?", re.A
)
_OWN_ARGUMENT: Final = {
    "max-age": "ttl",
    "s-maxage": "cdn_ttl",
    "private": "private",
    "immutable": "immutable",
    "stale-while-revalidate": "stale_while_revalidate",
    "stale-if-error": "stale_if_error",
    "no-cache": "leaving the marker out",
    "no-store": "leaving the marker out",
}
"""What to write instead of a directive."""


def argument_problems(endpoint: EndpointFacts) -> Iterator[Problem]:
    """Every argument of the endpoint's markers whose value cannot be meant."""
    for marker in placed_markers(endpoint):
        yield from _ttl(marker)
        yield from _names(marker)
        yield from _key(marker)
        yield from _when(marker)
        yield from _empty_eviction(marker)
        yield from _stale_windows(marker)
        yield from _fractions(marker)
        yield from _statuses(marker)
        yield from _cdn_ttl(marker)
        yield from _directives(marker)


def _ttl(marker: PlacedMarker) -> Iterator[Problem]:
    ttl = marker.get("ttl")
    if ttl is None or isinstance(ttl, Unknown):
        return
    seconds = seconds_of(ttl)
    least = 0 if marker.lenient else 1
    if seconds is not None and least <= seconds <= _LONGEST_TTL:
        return
    problem = f"ttl={ttl!r} of {marker.kind} is not a lifetime of at least one second"
    if seconds == 0:
        problem = f"ttl=0 of {marker.kind} is ambiguous: it could mean no caching or no expiry"
    yield marker.problem(_CODE, problem, marker.spell(ttl=300), "ttl")


def _names(marker: PlacedMarker) -> Iterator[Problem]:
    for argument, right in (("group", ("products",)), ("vary", "user.id")):
        value = marker.get(argument, ())
        if isinstance(value, Unknown) or (isinstance(value, str) and value):
            continue
        if isinstance(value, tuple) and all(isinstance(item, str) and item for item in value):
            continue
        if marker.lenient and value == "":
            continue
        problem = f"{argument}={value!r} of {marker.kind} is neither a name nor a tuple of names"
        yield marker.problem(_CODE, problem, marker.spell(**{argument: right}), argument)


def _key(marker: PlacedMarker) -> Iterator[Problem]:
    key = marker.get("key")
    path = isinstance(key, str) and key.startswith("/")
    if not (key is None or path or callable(key) or isinstance(key, Unknown)):
        problem = f"key={key!r} of {marker.kind} is neither a path from the root nor an endpoint"
        yield marker.problem(_CODE, problem, marker.spell(key="/products/{product_id}"), "key")


def _when(marker: PlacedMarker) -> Iterator[Problem]:
    when = marker.get("when")
    if not (when is None or callable(when) or isinstance(when, Unknown)):
        problem = f"when={when!r} of {marker.kind} cannot be called with what the endpoint returns"
        yield marker.problem(_CODE, problem, marker.spell(when=None), "when")


def _empty_eviction(marker: PlacedMarker) -> Iterator[Problem]:
    if marker.kind != "CacheEvict" or marker.lenient:
        return
    if not marker.get("group") and marker.get("key") is None:
        problem = "CacheEvict names neither a group nor a key, so it evicts nothing"
        yield marker.problem(_CODE, problem, marker.spell(group="products"))


def _stale_windows(marker: PlacedMarker) -> Iterator[Problem]:
    unending = marker.get("ttl") in (None, 0)
    for argument in ("stale_while_revalidate", "stale_if_error"):
        value = marker.get(argument, 0)
        if isinstance(value, Unknown):
            continue
        seconds = seconds_of(value)
        if seconds is None or not 0 <= seconds <= _LONGEST_TTL:
            problem = f"{argument}={value!r} of {marker.kind} is not a time of 0 seconds or more"
            yield marker.problem(_CODE, problem, marker.spell(**{argument: 60}), argument)
        elif seconds and unending:
            problem = (
                f"{argument}={value!r} of {marker.kind} starts when a lifetime ends, but there is "
                "no ttl"
            )
            yield marker.problem(_CODE, problem, marker.spell(ttl=300), argument)


def _fractions(marker: PlacedMarker) -> Iterator[Problem]:
    for argument, bound, right in (("beta", inf, 1.0), ("jitter", 1.0, 0.1)):
        value = marker.get(argument, 0.0)
        if isinstance(value, Unknown) or (_is_number(value) and 0 <= float(value) < bound):
            continue
        upper = "" if bound == inf else f" and below {bound:g}"
        problem = f"{argument}={value!r} of {marker.kind} is not a number from 0{upper}"
        yield marker.problem(_CODE, problem, marker.spell(**{argument: right}), argument)


def _statuses(marker: PlacedMarker) -> Iterator[Problem]:
    statuses = marker.get("statuses")
    if statuses is None or isinstance(statuses, Unknown):
        return
    if isinstance(statuses, Mapping) and all(
        _is_storable(status) and _is_lifetime(ttl) for status, ttl in statuses.items()
    ):
        return
    problem = (
        f"statuses={statuses!r} of {marker.kind} does not give statuses that can be stored (not "
        "206, 304, 412, 416) a lifetime of at least one second each"
    )
    yield marker.problem(_CODE, problem, marker.spell(statuses={404: 10}), "statuses")


def _cdn_ttl(marker: PlacedMarker) -> Iterator[Problem]:
    cdn_ttl = marker.get("cdn_ttl")
    if cdn_ttl is None or isinstance(cdn_ttl, Unknown) or _is_lifetime(cdn_ttl):
        return
    problem = f"cdn_ttl={cdn_ttl!r} of {marker.kind} is not a lifetime of at least one second"
    yield marker.problem(_CODE, problem, marker.spell(cdn_ttl=3600), "cdn_ttl")


def _directives(marker: PlacedMarker) -> Iterator[Problem]:
    directives = marker.get("directives", ())
    if isinstance(directives, Unknown):
        return
    listed = directives if isinstance(directives, tuple) else (directives,)
    for one in listed:
        wrong = _wrong_directive(one)
        if wrong is not None:
            problem = f"{one!r} in directives of {marker.kind} {wrong}"
            yield marker.problem(
                _CODE, problem, marker.spell(directives="must-revalidate"), "directives"
            )


def _wrong_directive(directive: object) -> str | None:
    if not isinstance(directive, str) or not _DIRECTIVE.fullmatch(directive):
        return "is not a directive of Cache-Control"
    argument = _OWN_ARGUMENT.get(directive.partition("=")[0].lower())
    return None if argument is None else f"is said by {argument}"


def _is_storable(status: object) -> bool:
    known = isinstance(status, int) and not isinstance(status, bool)
    return known and status in range(200, 600) and status not in _NEVER_STORED


def _is_lifetime(ttl: object) -> bool:
    seconds = seconds_of(ttl)
    return seconds is not None and 1 <= seconds <= _LONGEST_TTL


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
