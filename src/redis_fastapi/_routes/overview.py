"""Checks of all routes together: evictions without a GET, groups never evicted, shared keys.

Templates are compared by pattern, in which every field is ``{}`` and matches any text. Groups that
code may fill or evict by hand are not reported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from .._policy.facts import closest
from .._policy.inputs import hands_out_cache
from .._policy.policy import Eviction, ReadPolicy
from .._policy.resource import ResourceTemplate
from .._policy.rules import Finding, finding
from .registry import Registry, Served

_ANY = "{}"
_ANYWHERE = ResourceTemplate.parse("/{path:path}")
_FIELD_NAME = re.compile(r"{\w+")


@dataclass(frozen=True)
class Overview:
    """All routes of an application.

    Attributes:
        registry: Of the application.
        default_ttl: Lifetime in seconds for endpoints without a ttl; 0 means no expiry.
    """

    registry: Registry
    default_ttl: int

    def findings(self) -> Iterator[Finding]:
        """All findings, each once even if its route is included repeatedly."""
        unmet = (*self._unfilled(), *self._unserved())
        found = (*unmet, *self._endless(), *_sharing(self.registry))
        yield from dict.fromkeys(found)

    def _unfilled(self) -> Iterator[Finding]:
        """Report evictions of groups that no GET fills."""
        filled = frozenset(
            group.pattern for _, read in self.registry.reads for group in read.groups
        )
        for _, write in self.registry.writes:
            for group in (one for eviction in write.evictions for one in eviction.groups):
                evicted = group.pattern
                if _meets_any(evicted, filled):
                    continue
                meant = closest(evicted, filled)
                if meant is not None or not self._is_used_by_hand:
                    hint = f"; did you mean {meant!r}?" if meant else ""
                    message = f"evicts group {group.text!r}, which no GET fills{hint}"
                    yield finding("redis-cache-unfilled", write.label, message)

    def _unserved(self) -> Iterator[Finding]:
        """Report evictions of paths that no cached GET serves."""
        served = self._read_by_path()
        for _, write in self.registry.writes:
            for eviction in write.evictions:
                if isinstance(eviction.key, ResourceTemplate):
                    paths = served.get(eviction.prefix, [])
                    yield from _unserved_among(paths, write.label, eviction.key)

    def _read_by_path(self) -> dict[str, list[ResourceTemplate]]:
        """The paths under which cached GETs store, by prefix."""
        found: dict[str, list[ResourceTemplate]] = {}
        for served, read in self.registry.reads:
            if read.key_builder is None:
                found.setdefault(read.prefix, []).append(_read_path(served, read))
        return found

    def _endless(self) -> Iterator[Finding]:
        """Report GETs whose entries neither expire nor are evicted."""
        evictions = [one for _, write in self.registry.writes for one in write.evictions]
        if self._is_used_by_hand or any(eviction.everything for eviction in evictions):
            return
        evicted = frozenset(group.pattern for eviction in evictions for group in eviction.groups)
        for served, read in self.registry.reads:
            if not read.groups or (read.ttl or self.default_ttl):
                continue
            met = any(_meets_any(group.pattern, evicted) for group in read.groups)
            if not met and not self._is_evicted_by_key(served):
                names = ", ".join(repr(group.text) for group in read.groups)
                yield finding(
                    "redis-cache-endless",
                    read.label,
                    f"no write evicts its group {names} and its entries have no ttl, so they are "
                    "never renewed. Say ttl=..., or evict the group",
                )

    def _is_evicted_by_key(self, served: Served) -> bool:
        pattern = ResourceTemplate.parse(served.path).pattern
        return any(
            write.put is not None or any(_names(one, served, pattern) for one in write.evictions)
            for _, write in self.registry.writes
        )

    @cached_property
    def _is_used_by_hand(self) -> bool:
        """Whether an endpoint or a dependency receives the cache or the Redis client."""
        return any(hands_out_cache(one.route.dependant) for one in self.registry.served)


def _read_path(served: Served, read: ReadPolicy) -> ResourceTemplate:
    if read.key is None:
        return ResourceTemplate.parse(served.path)
    # an endpoint given as key need not be cached itself; its path is then unknown here
    return read.key if isinstance(read.key, ResourceTemplate) else _ANYWHERE


def _unserved_among(
    paths: Iterable[ResourceTemplate], label: str, key: ResourceTemplate
) -> Iterator[Finding]:
    """Report an eviction by path that matches none of these paths of GETs."""
    if any(_may_be_one_path(key, one) for one in paths):
        return
    texts = {one.pattern: one.template.text for one in paths}
    meant = closest(key.pattern, frozenset(texts))
    hint = f"; did you mean {texts[meant]!r}?" if meant else ""
    message = f"evicts path {key.template.text!r}, which no cached GET serves{hint}"
    yield finding("redis-cache-unserved", label, message)


@dataclass(frozen=True, slots=True)
class Pair:
    """Two GETs of different endpoints with the same key.

    Attributes:
        one: The policy of the first.
        other: The policy of the second.
        apart: Whether requests reach both, since the second has another path or host.
    """

    one: ReadPolicy
    other: ReadPolicy
    apart: bool

    @property
    def confused(self) -> bool:
        """Whether each would serve the other's entries, since their names are also the same."""
        return self.apart and self.one.shape == self.other.shape


def pairs(registry: Registry) -> Iterator[Pair]:
    """GETs of different endpoints with the same key, each paired with the first of them."""
    first: dict[tuple[str, str], tuple[Served, ReadPolicy]] = {}
    for served, read in registry.reads:
        if read.key_builder is not None or callable(read.key):
            continue
        path = served.path if read.key is None else read.key.template.text
        known, one = first.setdefault((_unnamed(path), read.prefix), (served, read))
        if known.endpoint != served.endpoint:
            apart = (_unnamed(known.path), known.host) != (_unnamed(served.path), served.host)
            yield Pair(one, read, apart)


def _unnamed(path: str) -> str:
    return _FIELD_NAME.sub("{", path)


def _sharing(registry: Registry) -> Iterator[Finding]:
    """Report pairs in which each refuses the other's entries."""
    for pair in pairs(registry):
        if not pair.confused:
            yield finding(
                "redis-cache-same-key",
                pair.other.label,
                f"has the key of {pair.one.label}, and each refuses what the other stored. "
                "Give one of them a path or a key of its own",
            )


def _names(eviction: Eviction, served: Served, pattern: str) -> bool:
    """Whether an eviction names a route's endpoint or its path, or may do so."""
    if eviction.own_path or eviction.key_builder is not None:
        return True
    if isinstance(eviction.key, ResourceTemplate):
        return eviction.key.pattern == pattern
    return eviction.key is not None and eviction.key == served.endpoint


def _meets_any(one: str, others: frozenset[str]) -> bool:
    """Whether a pattern can match the same name as one of these."""
    # it usually is one of them; comparing hundreds of patterns pairwise takes seconds
    return one in others or any(_meet(one, other) for other in others)


def _meet(one: str, other: str) -> bool:
    """Whether two patterns can match the same name."""
    return one == other or _covers(one, other) or _covers(other, one)


def _may_be_one_path(one: ResourceTemplate, other: ResourceTemplate) -> bool:
    """Whether two templates can match the same path; most fields match no slash."""
    if (one.slashes or other.slashes) and _meet(one.pattern, other.pattern):
        return True
    mine, theirs = one.pattern.split("/"), other.pattern.split("/")
    return len(mine) == len(theirs) and all(map(_meet, mine, theirs))


def _covers(pattern: str, name: str) -> bool:
    """Whether a pattern with texts in place of its fields can give a name."""
    if _ANY not in pattern:
        return False
    parts = map(re.escape, pattern.split(_ANY))
    return re.fullmatch(".+".join(parts), name, re.DOTALL) is not None
