"""Which writes can reach the entries of which reads, as far as their policies show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .._policy.policy import Eviction, Key, ReadPolicy, WritePolicy
from .._policy.resource import ResourceTemplate
from .._policy.templates import Template
from .._routes.registry import Registry, Served


def writers_of(served: Served, read: ReadPolicy, registry: Registry) -> Iterator[Served]:
    """The routes whose put or eviction can reach the entries of a read."""
    for other, write in registry.writes:
        if _reaches(other, write, served, read):
            yield other


def _reaches(other: Served, write: WritePolicy, served: Served, read: ReadPolicy) -> bool:
    put = write.put
    if put is not None and put.prefix == read.prefix:
        if put.key_builder is not None and put.key_builder is read.key_builder:
            return True
        if put.key_builder is None and same_resource(put.key, other, served, read):
            return True
    return any(_eviction_reaches(one, other, served, read) for one in write.evictions)


def _eviction_reaches(one: Eviction, other: Served, served: Served, read: ReadPolicy) -> bool:
    if one.everything or not _patterns(one.groups).isdisjoint(_patterns(read.groups)):
        return True
    return one.prefix == read.prefix and names_resource(one, other, served, read)


def names_resource(one: Eviction, other: Served, served: Served, read: ReadPolicy) -> bool:
    """Whether an eviction names the very path of a read."""
    if one.key_builder is not None:
        return one.key_builder is read.key_builder
    if not one.own_path and one.key is None:
        return False
    return same_resource(one.key, other, served, read)


def same_resource(key: Key, other: Served, served: Served, read: ReadPolicy) -> bool:
    """Whether the key of another route means the path of a read."""
    if key is not None and not isinstance(key, ResourceTemplate):
        return key == served.endpoint
    meant = key or ResourceTemplate.parse(other.path)
    stored = read.key if isinstance(read.key, ResourceTemplate) else None
    return meant.pattern == (stored or ResourceTemplate.parse(served.path)).pattern


def _patterns(templates: Iterable[Template]) -> set[str]:
    return {template.pattern for template in templates}
