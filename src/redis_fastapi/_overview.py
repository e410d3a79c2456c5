"""What only all routes together show: groups and paths that miss each other, GETs that share their
entries.

Templates are compared by their text with every field as ``{}``, where a field may stand for any
text. Nothing is said about groups that code may fill or evict by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ._policy import Eviction, Policy, ReadPolicy, WritePolicy
from ._resource import ResourceTemplate
from ._rules import Finding, closest, finding

_ANY = "{}"
_ANYWHERE = ResourceTemplate.parse("/{path:path}")
_FIELD_NAME = re.compile(r"{\w+")


@dataclass(frozen=True, slots=True)
class Place:
    """One route that does something with the cache, at its full path and the host it asks for."""

    path: str
    host: str
    endpoint: Callable[..., Any]
    policy: Policy


@dataclass(frozen=True, slots=True)
class Overview:
    """All routes of an application.

    Attributes:
        places: The routes, in the order in which they are tried.
        default_ttl: Seconds for an endpoint that names no ttl; 0 is no expiry.
        by_hand: Whether an endpoint or a dependency receives the cache or the client itself.
    """

    places: tuple[Place, ...]
    default_ttl: int
    by_hand: bool

    def findings(self) -> Iterator[Finding]:
        """Each once, however often its route is served."""
        unmet = (*self._unfilled(), *self._unserved())
        found = (*unmet, *self._endless(), *_sharing(self.places))
        yield from dict.fromkeys(found)

    def _unfilled(self) -> Iterator[Finding]:
        """Evictions of groups that no GET fills."""
        filled = frozenset(group.pattern for read in self._reads for group in read.groups)
        for write in self._writes:
            for group in (one for eviction in write.evictions for one in eviction.groups):
                evicted = group.pattern
                if _meets_any(evicted, filled):
                    continue
                meant = closest(evicted, filled)
                if meant is not None or not self.by_hand:
                    hint = f"; did you mean {meant!r}?" if meant else ""
                    message = f"evicts group {group.text!r}, which no GET fills{hint}"
                    yield finding("redis-cache-unfilled", write.label, message)

    def _unserved(self) -> Iterator[Finding]:
        """Evictions of paths that no cached GET serves."""
        served = self._read_by_path()
        for write in self._writes:
            for eviction in write.evictions:
                if isinstance(eviction.key, ResourceTemplate):
                    paths = served.get(eviction.prefix, [])
                    yield from _unserved_among(paths, write.label, eviction.key)

    def _read_by_path(self) -> dict[str, list[ResourceTemplate]]:
        """The paths that cached GETs read, by prefix."""
        found: dict[str, list[ResourceTemplate]] = {}
        for place in self.places:
            read = place.policy.read
            if read is not None and read.key_builder is None:
                found.setdefault(read.prefix, []).append(_read_path(place, read))
        return found

    def _endless(self) -> Iterator[Finding]:
        """Entries in groups that nobody evicts, and that do not expire either."""
        if self.by_hand or any(eviction.everything for eviction in self._evictions):
            return
        evicted = frozenset(
            group.pattern for eviction in self._evictions for group in eviction.groups
        )
        for place in self.places:
            read = place.policy.read
            if read is None or not read.groups or (read.ttl or self.default_ttl):
                continue
            met = any(_meets_any(group.pattern, evicted) for group in read.groups)
            if not met and not self._is_evicted_by_key(place):
                names = ", ".join(repr(group.text) for group in read.groups)
                yield finding(
                    "redis-cache-endless",
                    read.label,
                    f"no write evicts its group {names} and its entries have no ttl, so an answer "
                    "is never renewed. Say ttl=..., or evict the group",
                )

    def _is_evicted_by_key(self, place: Place) -> bool:
        pattern = ResourceTemplate.parse(place.path).pattern
        for other in self.places:
            write = other.policy.write
            if write is None:
                continue
            if write.put is not None or any(
                one.own_path or one.key_builder for one in write.evictions
            ):
                return True
            if any(_names(eviction, place.endpoint, pattern) for eviction in write.evictions):
                return True
        return False

    @property
    def _reads(self) -> Iterable[ReadPolicy]:
        return [place.policy.read for place in self.places if place.policy.read is not None]

    @property
    def _writes(self) -> Iterable[WritePolicy]:
        return [place.policy.write for place in self.places if place.policy.write is not None]

    @property
    def _evictions(self) -> Iterable[Eviction]:
        return [eviction for write in self._writes for eviction in write.evictions]


def _read_path(place: Place, read: ReadPolicy) -> ResourceTemplate:
    if read.key is None:
        return ResourceTemplate.parse(place.path)
    # an endpoint that is a key need not be cached itself, and is not known here then
    return read.key if isinstance(read.key, ResourceTemplate) else _ANYWHERE


def _unserved_among(
    paths: Iterable[ResourceTemplate], label: str, key: ResourceTemplate
) -> Iterator[Finding]:
    """What is wrong with an eviction by path, where GETs read these."""
    if any(_may_be_one_path(key, one) for one in paths):
        return
    texts = {one.pattern: one.template.text for one in paths}
    meant = closest(key.pattern, frozenset(texts))
    hint = f"; did you mean {texts[meant]!r}?" if meant else ""
    message = f"evicts path {key.template.text!r}, which no cached GET serves{hint}"
    yield finding("redis-cache-unserved", label, message)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two GETs of different endpoints with one key.

    Attributes:
        one: What the first does.
        other: What the second does.
        apart: Whether requests reach both: the second is at another path or host.
    """

    one: ReadPolicy
    other: ReadPolicy
    apart: bool

    @property
    def confused(self) -> bool:
        """Whether neither refuses what the other stored, since their names are the same, too."""
        return self.apart and self.one.shape == self.other.shape


def pairs(places: Iterable[Place]) -> Iterator[Pair]:
    """GETs of different endpoints that have one key, each with the first of them."""
    first: dict[tuple[str, str], tuple[Place, ReadPolicy]] = {}
    for place in places:
        read = place.policy.read
        if read is None or read.key_builder is not None or callable(read.key):
            continue
        path = place.path if read.key is None else read.key.template.text
        known, one = first.setdefault((_unnamed(path), read.prefix), (place, read))
        if known.endpoint != place.endpoint:
            apart = (_unnamed(known.path), known.host) != (_unnamed(place.path), place.host)
            yield Pair(one, read, apart)


def _unnamed(path: str) -> str:
    return _FIELD_NAME.sub("{", path)


def _sharing(places: Iterable[Place]) -> Iterator[Finding]:
    """Pairs of which each refuses what the other stored."""
    for pair in pairs(places):
        if not pair.confused:
            yield finding(
                "redis-cache-same-key",
                pair.other.label,
                f"has the key of {pair.one.label}, and each refuses what the other stored. "
                "Give one of them a path or a key of its own",
            )


def _names(eviction: Eviction, endpoint: Callable[..., Any], pattern: str) -> bool:
    """Whether an eviction names the endpoint or its path."""
    if isinstance(eviction.key, ResourceTemplate):
        return eviction.key.pattern == pattern
    return eviction.key is not None and eviction.key == endpoint


def _meets_any(one: str, others: frozenset[str]) -> bool:
    """Whether a pattern and one of these can stand for one name."""
    # most often it is among them: comparing hundreds with hundreds takes seconds
    return one in others or any(_meet(one, other) for other in others)


def _meet(one: str, other: str) -> bool:
    """Whether two patterns can stand for one name."""
    return one == other or _covers(one, other) or _covers(other, one)


def _may_be_one_path(one: ResourceTemplate, other: ResourceTemplate) -> bool:
    """Whether two templates can stand for one path; most fields hold no slash."""
    if (one.slashes or other.slashes) and _meet(one.pattern, other.pattern):
        return True
    mine, theirs = one.pattern.split("/"), other.pattern.split("/")
    return len(mine) == len(theirs) and all(map(_meet, mine, theirs))


def _covers(pattern: str, name: str) -> bool:
    """Whether some texts in place of a pattern's fields make it another."""
    if _ANY not in pattern:
        return False
    parts = map(re.escape, pattern.split(_ANY))
    return re.fullmatch(".+".join(parts), name, re.DOTALL) is not None
