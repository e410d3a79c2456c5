"""What an application does with the cache, as data: for the command line, decided without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from starlette.routing import compile_path

from ._entry import Entry, decode, decode_outdated, head_size
from ._keys import EPOCH, Target, group_name
from ._policy import Eviction, Key, Put, ReadPolicy, Selectors, WritePolicy
from ._reads import EVERYTHING
from ._registry import Registry, Served
from ._resource import ResourceTemplate
from ._store import Snapshot, validity_of
from ._templates import Template
from ._tokens import TOKEN_SIZE, softly_evicted

# -- routes


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
        """How other routes speak of it."""
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
    policy = served.policy
    read, write = (policy.read, policy.write) if policy else (None, None)
    return RouteReport(
        method="|".join(sorted(served.methods)),
        path=served.path,
        endpoint=getattr(served.endpoint, "__name__", repr(served.endpoint)),
        ttl=None if read is None else default_ttl if read.ttl is None else read.ttl,
        key=key_parts(served, read) if read else (),
        groups=_texts(read.groups) if read else (),
        flags=tuple(_flags(read)) if read else (),
        writes=written_path(write.put, served) if write and write.put else None,
        evicts=tuple(evicted_names(write, served)) if write else (),
        evicted_by=tuple(_names(writers_of(served, read, registry))) if read else (),
        never_stored=read.uncacheable.value if read and read.uncacheable else None,
    )


def _texts(templates: Iterable[Template]) -> tuple[str, ...]:
    return tuple(template.text for template in templates)


def _names(routes: Iterable[Served]) -> Iterator[str]:
    for one in routes:
        yield f"{'|'.join(sorted(one.methods))} {one.path}"


def _flags(read: ReadPolicy) -> Iterator[str]:
    if read.private:
        yield "private"
    if read.per_user:
        yield "per user"
    if read.when is not None:
        yield "when"
    yield from _time_flags(read)


def _time_flags(read: ReadPolicy) -> Iterator[str]:
    """What is said of lifetimes beside the one of the entry."""
    if read.staleness.revalidate_ms:
        yield f"stale {read.staleness.revalidate_ms // 1000} s"
    if read.staleness.error_ms:
        yield f"stale {read.staleness.error_ms // 1000} s on errors"
    if read.cdn_ttl is not None:
        yield f"{read.cdn_ttl} s in CDNs"
    yield from (f"{ttl} s for {status}" for status, ttl in sorted(read.statuses.items()))


def key_parts(served: Served, read: ReadPolicy) -> tuple[str, ...]:
    """What selects the entry, in words: the resource first."""
    resource = _resource_text(read.key, served)
    if read.key_builder is not None:
        resource = f"{getattr(read.key_builder, '__name__', 'key builder')}()"
    return (resource, *selected_by(read.selectors))


def selected_by(selectors: Selectors) -> Iterator[str]:
    """What picks the variant of a resource, in words."""
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
    """The path whose entry a put writes."""
    return _resource_text(put.key, served)


def evicted_names(write: WritePolicy, served: Served) -> Iterator[str]:
    """Groups and paths that a write evicts; ``*`` is the whole cache."""
    for eviction in write.evictions:
        soft = " (soft)" if eviction.soft else ""
        yield from (f"{name}{soft}" for name in _names_of(eviction, served))


def _names_of(eviction: Eviction, served: Served) -> Iterator[str]:
    if eviction.everything:
        yield "*"
    yield from (f"group {text}" for text in _texts(eviction.groups))
    if eviction.key_builder is not None:
        yield f"key {getattr(eviction.key_builder, '__name__', 'key builder')}()"
    elif eviction.own_path or eviction.key is not None:
        yield f"key {_resource_text(eviction.key, served)}"


# -- who evicts what


def writers_of(served: Served, read: ReadPolicy, registry: Registry) -> Iterator[Served]:
    """The routes whose put or eviction can reach the entries of a read."""
    for other in registry.served:
        write = other.policy.write if other.policy else None
        if write is not None and _reaches(other, write, served, read):
            yield other


def _reaches(other: Served, write: WritePolicy, served: Served, read: ReadPolicy) -> bool:
    put = write.put
    if put is not None and put.prefix == read.prefix:
        if put.key_builder is not None and put.key_builder is read.key_builder:
            return True
        if put.key_builder is None and _same_resource(put.key, other, served, read):
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
    return _same_resource(one.key, other, served, read)


def _same_resource(key: Key, other: Served, served: Served, read: ReadPolicy) -> bool:
    if key is not None and not isinstance(key, ResourceTemplate):
        return key == served.endpoint
    meant = key or ResourceTemplate.parse(other.path)
    stored = read.key if isinstance(read.key, ResourceTemplate) else None
    return meant.pattern == (stored or ResourceTemplate.parse(served.path)).pattern


def _patterns(templates: Iterable[Template]) -> set[str]:
    return {"{}".join(template.literals) for template in templates}


# -- graph


def mermaid(registry: Registry) -> str:
    """Writes, the groups they evict, and the reads in those groups, as a mermaid flowchart."""
    names = _NodeNames()
    lines = dict.fromkeys(_edges(registry, names))
    return "\n".join(["flowchart LR", *(f"    {line}" for line in (*names.lines, *lines))])


class _NodeNames:
    """Short names of a flowchart's nodes, and the lines that declare them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._known: dict[tuple[str, str], str] = {}

    def node(self, kind: str, text: str, shape: str) -> str:
        """The node's name; declared at first use."""
        if (kind, text) not in self._known:
            name = self._known[kind, text] = f"{kind}{len(self._known)}"
            self.lines.append(f'{name}{shape[0]}"{text.replace(chr(34), "#quot;")}"{shape[1]}')
        return self._known[kind, text]


def _edges(registry: Registry, names: _NodeNames) -> Iterator[str]:
    for served in registry.served:
        policy = served.policy
        if policy is not None and policy.write is not None:
            yield from _write_edges(served, policy.write, registry, names)
    for served in registry.served:
        policy = served.policy
        if policy is not None and policy.read is not None:
            read = names.node("r", *_route_node(served))
            for template in policy.read.groups:
                yield f"{_group_node(template, names)} --> {read}"


def _route_node(served: Served) -> tuple[str, str]:
    return next(_names([served])), "[]"


def _group_node(template: Template, names: _NodeNames) -> str:
    return names.node("g", _shown(template), "()")


def _shown(template: Template) -> str:
    """The group with its fields unnamed, since a write and a read may name them differently."""
    return "{}".join(template.literals)


def _write_edges(
    served: Served, write: WritePolicy, registry: Registry, names: _NodeNames
) -> Iterator[str]:
    source = names.node("w", *_route_node(served))
    for eviction in write.evictions:
        if eviction.everything:
            yield f"{source} -->|evicts| {names.node('g', 'the whole cache', '()')}"
        for template in eviction.groups:
            yield f"{source} -->|evicts| {_group_node(template, names)}"
        for one, read in _reads(registry):
            if names_resource(eviction, served, one, read):
                yield f"{source} -->|evicts| {names.node('r', *_route_node(one))}"
    if write.put is not None:
        for one, read in _reads(registry):
            if _same_resource(write.put.key, served, one, read):
                yield f"{source} -->|puts| {names.node('r', *_route_node(one))}"


def _reads(registry: Registry) -> Iterator[tuple[Served, ReadPolicy]]:
    for served in registry.served:
        if served.policy is not None and served.policy.read is not None:
            yield served, served.policy.read


# -- one request, one entry


def serving(registry: Registry, method: str, path: str) -> Served | None:
    """The first route that serves a request."""
    for served in registry.served:
        regex, _, _ = compile_path(served.path)
        if method in served.methods and regex.match(path):
            return served
    return None


class Standing(str, Enum):
    """How an entry stands."""

    MISSING = "missing"
    VALID = "valid"
    STALE = "stale"
    """Past its lifetime, and served while it is computed anew."""
    OUTDATED = "outdated"
    """Softly evicted."""
    EVICTED = "evicted"
    OTHER_VERSION = "of another version"
    EXPIRED = "expired"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"
    """Redis did not answer."""


@dataclass(frozen=True, slots=True)
class EntryReport:
    """An entry as it is stored.

    Attributes:
        standing: Whether it would be served.
        evicted_by: The generations whose eviction ended it, in words.
        status: Status code.
        age_seconds: Since it was made.
        ttl_seconds: Until its lifetime ends, negative after that; None is no end.
        size_bytes: Of the body.
    """

    standing: Standing
    evicted_by: tuple[str, ...] = ()
    status: int | None = None
    age_seconds: float | None = None
    ttl_seconds: float | None = None
    size_bytes: int | None = None


def entry_report(
    target: Target, snapshot: Snapshot, groups: Iterable[str], *, now_ms: int
) -> EntryReport:
    """Judge what was read of a target; ``groups`` are the names behind its generations."""
    if snapshot.raw is None:
        return EntryReport(Standing.MISSING)
    stored = snapshot.raw[head_size(0) : head_size(_validity_size(target))]
    whole = decode(snapshot.raw, stored)
    entry = whole or decode_outdated(snapshot.raw, stored)
    if entry is None:
        return EntryReport(Standing.DAMAGED)
    if not stored.startswith(target.shape):
        return _described(Standing.OTHER_VERSION, entry, (), now_ms)
    current = validity_of(target, snapshot.tokens)
    if whole is not None and stored == current:
        return _described(_life(entry, now_ms), entry, (), now_ms)
    changed = tuple(_changed(target, stored, snapshot, groups))
    kept = current is not None and softly_evicted(stored, current)
    standing = Standing.OUTDATED if kept else Standing.EVICTED
    return _described(standing, entry, changed, now_ms)


def _validity_size(target: Target) -> int:
    return len(target.shape) + TOKEN_SIZE * len(target.generations)


def _life(entry: Entry, now_ms: int) -> Standing:
    staleness_ms = now_ms - entry.created_ms - entry.fresh_ms
    if not entry.fresh_ms or staleness_ms < 0:
        return Standing.VALID
    return Standing.STALE if staleness_ms < entry.revalidate_ms else Standing.EXPIRED


def _changed(
    target: Target, stored: bytes, snapshot: Snapshot, groups: Iterable[str]
) -> Iterator[str]:
    words = {EPOCH: "the whole cache"} | {group_name(name): f"group {name!r}" for name in groups}
    start = len(target.shape)
    for name, token in zip(target.generations, snapshot.tokens, strict=True):
        if stored[start : start + TOKEN_SIZE] != token:
            yield words.get(name, "its path")
        start += TOKEN_SIZE


def _described(
    standing: Standing, entry: Entry, evicted_by: tuple[str, ...], now_ms: int
) -> EntryReport:
    age_ms = max(0, now_ms - entry.created_ms)
    left_ms = entry.fresh_ms - age_ms if entry.fresh_ms else None
    return EntryReport(
        standing=standing,
        evicted_by=evicted_by,
        status=entry.status,
        age_seconds=age_ms / 1000,
        ttl_seconds=None if left_ms is None else left_ms / 1000,
        size_bytes=len(entry.body),
    )
