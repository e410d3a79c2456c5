"""Describes policies in words: what selects an entry, and what a write evicts."""

from __future__ import annotations

from collections.abc import Iterator

from .._policy.inputs import EVERYTHING
from .._policy.policy import Eviction, Key, Put, ReadPolicy, Selectors, WritePolicy
from .._policy.resource import ResourceTemplate
from .registry import Served


def route_name(served: Served) -> str:
    """The name of a route in reports: its methods and its path."""
    return f"{methods_text(served)} {served.path}"


def methods_text(served: Served) -> str:
    """A route's methods, joined by ``|``."""
    return "|".join(sorted(served.methods))


def flags_of(read: ReadPolicy) -> Iterator[str]:
    """The properties of a read besides its ttl: ``private``, ``when``, other lifetimes."""
    if read.private:
        yield "private"
    if read.per_user:
        yield "per user"
    if read.when is not None:
        yield "when"
    yield from _time_flags(read)


def _time_flags(read: ReadPolicy) -> Iterator[str]:
    """The lifetimes other than the entry's, in words."""
    if read.staleness.revalidate_ms:
        yield f"stale {read.staleness.revalidate_ms // 1000} s"
    if read.staleness.error_ms:
        yield f"stale {read.staleness.error_ms // 1000} s on errors"
    if read.cdn_ttl is not None:
        yield f"{read.cdn_ttl} s in CDNs"
    yield from (f"{ttl} s for {status}" for status, ttl in sorted(read.statuses.items()))


def key_parts(served: Served, read: ReadPolicy) -> tuple[str, ...]:
    """What selects the entry, in words; the resource comes first."""
    resource = _resource_text(read.key, served)
    if read.key_builder is not None:
        resource = f"{getattr(read.key_builder, '__name__', 'key builder')}()"
    return (resource, *selected_by(read.selectors))


def selected_by(selectors: Selectors) -> Iterator[str]:
    """What selects the variant of a resource, in words."""
    yield from (f"query {name}" for name, _ in selectors.own)
    yield from (f"text of {name}" for name in selectors.path)
    for kind, names in selectors.names._asdict().items():
        singular = {"headers": "header", "cookies": "cookie"}.get(kind, kind)
        yield from (f"every {singular}" if n == EVERYTHING else f"{singular} {n}" for n in names)
    yield from (f"value of {field}" for field in selectors.vary)
    if selectors.body:
        yield "body"


def _resource_text(key: Key, served: Served) -> str:
    if key is None:
        return served.path
    if isinstance(key, ResourceTemplate):
        return key.template.text
    return f"{getattr(key, '__name__', repr(key))}()"


def written_path(put: Put, served: Served) -> str:
    """The path whose entry a put stores."""
    return _resource_text(put.key, served)


def evicted_names(write: WritePolicy, served: Served) -> Iterator[str]:
    """The groups and paths that a write evicts; ``*`` means the whole cache."""
    for eviction in write.evictions:
        soft = " (soft)" if eviction.soft else ""
        yield from (f"{name}{soft}" for name in _names_of(eviction, served))


def _names_of(eviction: Eviction, served: Served) -> Iterator[str]:
    if eviction.everything:
        yield "*"
    yield from (f"group {group.text}" for group in eviction.groups)
    if eviction.key_builder is not None:
        yield f"key {getattr(eviction.key_builder, '__name__', 'key builder')}()"
    elif eviction.own_path or eviction.key is not None:
        yield f"key {_resource_text(eviction.key, served)}"
