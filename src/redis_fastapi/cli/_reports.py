"""What each route does with the cache, as data."""

from __future__ import annotations

from dataclasses import dataclass

from .._routes.describe import (
    evicted_names,
    flags_of,
    key_parts,
    methods_text,
    route_name,
    written_path,
)
from .._routes.registry import Registry, Served
from ._reach import writers_of


@dataclass(frozen=True, slots=True)
class RouteReport:
    """What one route does with the cache.

    Attributes:
        method: Its methods, joined by ``|``.
        path: Full path template.
        endpoint: Name of the function.
        ttl: Seconds that an entry lives; 0 is no expiry, None for a route that reads nothing.
        key: What selects the entry: the path, then each selector.
        groups: Groups that the entry is in.
        flags: ``private``, ``per user``, ``when``, and other lifetimes than ``ttl``.
        writes: The path whose entry a put writes, or None.
        evicts: Groups and paths that a write evicts; ``*`` is the whole cache.
        evicted_by: Routes that write or evict the entry.
        never_stored: Why nothing is ever stored, or None.
    """

    method: str
    path: str
    endpoint: str
    ttl: int | None = None
    key: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    writes: str | None = None
    evicts: tuple[str, ...] = ()
    evicted_by: tuple[str, ...] = ()
    never_stored: str | None = None

    @property
    def name(self) -> str:
        """The name that other routes' reports use for it."""
        return f"{self.method} {self.path}"


def route_reports(registry: Registry, *, default_ttl: int) -> list[RouteReport]:
    """Every route that has to do with the cache, in the order in which they are served."""
    return [
        report_of(served, registry, default_ttl=default_ttl)
        for served in registry.served
        if served.policy is not None
    ]


def report_of(served: Served, registry: Registry, *, default_ttl: int) -> RouteReport:
    """What one route does with the cache."""
    read, write = served.read, served.write
    return RouteReport(
        method=methods_text(served),
        path=served.path,
        endpoint=getattr(served.endpoint, "__name__", repr(served.endpoint)),
        ttl=None if read is None else default_ttl if read.ttl is None else read.ttl,
        key=key_parts(served, read) if read else (),
        groups=tuple(group.text for group in read.groups) if read else (),
        flags=tuple(flags_of(read)) if read else (),
        writes=written_path(write.put, served) if write and write.put else None,
        evicts=tuple(evicted_names(write, served)) if write else (),
        evicted_by=tuple(map(route_name, writers_of(served, read, registry))) if read else (),
        never_stored=read.uncacheable.value if read and read.uncacheable else None,
    )
