"""What a route does with the cache, compiled: the data, and how it meets a request.

A policy is made once, by ``_compile``; a request only fills in its values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cached_property
from operator import itemgetter
from typing import Any, TypeAlias
from uuid import UUID

from starlette.requests import Request

from ._declare import KeyBuilder
from ._http import Forward, Reason
from ._keys import EPOCH, Target, digest, group_name, path_name
from ._reads import EVERYTHING, NO_NAMES, Names
from ._resource import PathParameter, ResourceTemplate, path_resource
from ._templates import Field, Template, text_of

Values = Mapping[str, object]
Key: TypeAlias = "ResourceTemplate | Callable[..., Any] | None"


@dataclass(frozen=True, slots=True)
class Selectors:
    """What picks the variant of a resource.

    Attributes:
        own: The endpoint's own query parameters, with the names they have on the wire.
        names: Query parameters, headers and cookies that count by their text.
        path: Path parameters whose very text counts.
        vary: Values that the author named.
        body: Whether the body counts.
    """

    own: tuple[tuple[str, tuple[str, ...]], ...] = ()
    names: Names = NO_NAMES
    path: tuple[str, ...] = ()
    vary: tuple[Field, ...] = ()
    body: bool = False

    def __bool__(self) -> bool:
        return self != _NOTHING_SELECTS

    def parts(self, values: Values, request: Request, body: bytes = b"") -> tuple[str, ...]:
        """The variant as texts, each part led by name and count; raises UnkeyableValueError."""
        if not self:
            return ()
        sent = ("body", body.hex()) if self.body else ()
        return (*self._declared(values, request), *self._named(values), *sent)

    def _declared(self, values: Values, request: Request) -> Iterator[str]:
        for name, wire in self.own:
            text = simple_text(values[name])
            found = _query(request, wire) if text is None else [text]
            yield from ("own", name, str(len(found)), *found)
        for name in self.path:
            yield from ("path", name, str(request.path_params.get(name)))
        for name in self.names.query:
            found = _query(request, (name,))
            yield from ("query", name, str(len(found)), *found)
        for name in self.names.headers:
            found = _header(request, name)
            yield from ("header", name, str(len(found)), *found)
        for name in self.names.cookies:
            sent = _cookie(request, name)
            yield from ("cookie", name, str(len(sent)), *sent)

    def _named(self, values: Values) -> Iterator[str]:
        for chosen in self.vary:
            value = chosen.value(values)
            text = simple_text(value)
            if text is None:
                raise UnkeyableValueError(
                    f"vary={str(chosen)!r} is a {type(value).__name__}, which no entry can be told "
                    f"by; name a value in it, as in '{chosen}.id'"
                )
            yield from ("vary", str(chosen), text)


_NOTHING_SELECTS = Selectors()


class UnkeyableValueError(Exception):
    """``vary`` names a value that has no text of its own, such as a whole user object."""


_name = itemgetter(0)
"""Sorts pairs so that the values of one name keep their order, which parameters see."""


def _query(request: Request, names: tuple[str, ...]) -> list[str]:
    if EVERYTHING in names:
        pairs = sorted(request.query_params.multi_items(), key=_name)
        return [text for pair in pairs for text in pair]
    query = request.query_params
    return [text for name in names for item in query.getlist(name) for text in (name, item)]


def _header(request: Request, name: str) -> list[str]:
    if name == EVERYTHING:
        return [text for pair in sorted(request.headers.items(), key=_name) for text in pair]
    return request.headers.getlist(name)


def _cookie(request: Request, name: str) -> list[str]:
    if name == EVERYTHING:
        return [text for pair in sorted(request.cookies.items()) for text in pair]
    value = request.cookies.get(name)
    return [] if value is None else [value]


_SIMPLE = (type(None), bool, int, float, str, UUID, Decimal, date, datetime, time, timedelta)


def simple_text(value: object) -> str | None:
    """A value with its type as text, different values differing; None where that is not certain."""
    if isinstance(value, Enum):
        # a combination of flags has no name before Python 3.11
        return f"{type(value).__qualname__}.{value.name}" if value.name else None
    if type(value) in _SIMPLE:
        return f"{type(value).__name__}:{text_of(value)}"
    return None


@dataclass(frozen=True, slots=True)
class Staleness:
    """What a route does about the end of lifetimes.

    Attributes:
        revalidate_ms: How long after it an entry is served while one run refreshes it.
        error_ms: How long after it an entry stands in for an error.
        beta: Eagerness to refresh before it; 0 is never.
        jitter: Fraction by which a lifetime is shortened at random.
    """

    revalidate_ms: int = 0
    error_ms: int = 0
    beta: float = 0.0
    jitter: float = 0.0


@dataclass(frozen=True)
class ReadPolicy:
    """How one endpoint's answers are keyed, stored and announced.

    Attributes:
        label: The route in messages and logs.
        template: The route's own path.
        parameters: The parameters of that path.
        key: Another resource: a path over the endpoint's parameters, or an endpoint; None is the
            own path.
        key_builder: Names the resource instead of the path.
        prefix: Sets the resource apart.
        selectors: What picks the variant.
        groups: Names under which the entry can be evicted.
        ttl: Seconds; 0 is no expiry, None the configured default.
        private: Whether no shared cache downstream may store the answer (RFC 9111 section 5.2.2.7).
        per_user: Whether an entry serves one user only.
        vary: Headers to announce in ``Vary``.
        when: The author's predicate on the result.
        uncacheable: Why nothing is ever stored, or None.
        status: Status code of a successful answer.
        model: Gives a text that changes with the response model's schema.
        local: Whether the process keeps the entry; None takes the setting.
        single_flight: Whether a request waits while another computes the same entry.
        staleness: What becomes of an entry whose lifetime ends.
        statuses: Lifetime in seconds of statuses that have one of their own.
        cdn_ttl: Seconds that shared caches downstream may keep an answer; None as long as others.
        immutable: Whether an answer never changes while it is fresh (RFC 8246).
        directives: Further directives of Cache-Control.
        origin: Module and name of the endpoint, so that two applications on one Redis never
            replay each other's answers.
    """

    label: str
    template: ResourceTemplate
    parameters: tuple[PathParameter, ...]
    key: Key
    key_builder: KeyBuilder | None
    prefix: str
    selectors: Selectors
    groups: tuple[Template, ...]
    ttl: int | None
    private: bool
    per_user: bool
    vary: tuple[str, ...]
    when: Callable[[Any], bool] | None
    uncacheable: Reason | None
    status: int
    model: Callable[[], str]
    origin: str
    local: bool | None = None
    single_flight: bool = True
    staleness: Staleness = Staleness()
    statuses: Mapping[int, int] = field(default_factory=dict)
    cdn_ttl: int | None = None
    immutable: bool = False
    directives: tuple[str, ...] = ()

    @property
    def missing(self) -> Forward:
        """What a miss is: where headers select, another variant may be there (RFC 9211)."""
        return Forward.MISS if self.vary or self.selectors.vary else Forward.URI_MISS

    @property
    def keyed_headers(self) -> tuple[str, ...]:
        """Fields that are in the key; of ``Cookie`` it may hold a single one instead."""
        return self.selectors.names.headers

    @cached_property
    def shape(self) -> bytes:
        """8 bytes that change with the route, its endpoint, its selectors or its model."""
        selected = f"{self.selectors!r} {self.private}"
        parts = [self.template.pattern, self.origin, selected, self.model()]
        return bytes.fromhex(digest(parts, size=8))

    def resource_at(self, path_params: Values, mount: str) -> str:
        """The resource of the own path with these texts; raises ValueError for invalid ones."""
        parsed = {p.name: p.parse(path_params[p.name]) for p in self.parameters}
        return path_resource(mount + self.template.render(parsed), self.prefix)

    def target(self, resource: str, selected: tuple[str, ...], groups: tuple[str, ...]) -> Target:
        """Where the look-up for a resource and variant goes."""
        variants = (path_name(resource),) if self.selectors else ()
        generations = (EPOCH, *variants, *(group_name(group) for group in groups))
        return Target(digest([resource, *selected]), generations, self.shape)


@dataclass(frozen=True, slots=True)
class Eviction:
    """What one eviction names.

    Attributes:
        groups: Group templates.
        key: A path template over the endpoint's parameters, an endpoint, or None.
        own_path: Whether the path of the request itself goes.
        key_builder: Names the resource instead.
        told_group: The group that the key builder is told.
        prefix: Sets the resource apart.
        everything: Whether the whole cache goes.
        when: The author's predicate on the result.
        strict: Whether an eviction that Redis did not confirm is an error.
        soft: Whether what is there stays as stale.
    """

    groups: tuple[Template, ...] = ()
    key: Key = None
    own_path: bool = False
    key_builder: KeyBuilder | None = None
    told_group: str = ""
    prefix: str = ""
    everything: bool = False
    when: Callable[[Any], bool] | None = None
    strict: bool = False
    soft: bool = False


@dataclass(frozen=True, slots=True)
class Put:
    """A write-through: which resource, and what the author says of it.

    Attributes:
        key: A path template over the endpoint's parameters, the GET endpoint, or None for the own
            path.
        key_builder: Names the resource instead.
        prefix: Sets the resource apart.
        groups: Groups the author expects the entry in; empty means those of the GET.
        ttl: Seconds; 0 is no expiry, None the GET's.
        when: The author's predicate on the result.
        by_dependency: Whether it may only warn, never refuse.
        strict: Whether a write that Redis did not confirm is an error.
    """

    key: Key
    key_builder: KeyBuilder | None
    prefix: str
    groups: tuple[str, ...]
    ttl: int | None
    when: Callable[[Any], bool] | None
    by_dependency: bool
    strict: bool = False


@dataclass(frozen=True, slots=True)
class WritePolicy:
    """What a successful write does to the cache.

    Attributes:
        label: The route in messages and logs.
        put: The write-through, or None.
        evictions: What is evicted.
        late_cleanup: Whether a dependency with ``yield`` may commit only after the response was
            sent.
        model: Text that changes with the response model's schema.
        modelled: Whether there is a response model, which a `Response` passes by.
        invalidates: Whether the paths that its answer names are evicted, too.
        preconditions: Whether it is done only where the request's preconditions hold.
    """

    label: str
    put: Put | None
    evictions: tuple[Eviction, ...]
    late_cleanup: bool
    model: Callable[[], str]
    modelled: bool
    invalidates: bool = False
    preconditions: bool = False

    @property
    def strict(self) -> bool:
        """Whether the answer says so where Redis did not confirm what this write evicts."""
        put_is_strict = self.put is not None and self.put.strict
        return put_is_strict or any(eviction.strict for eviction in self.evictions)


@dataclass(frozen=True, slots=True)
class Policy:
    """All that one route does with the cache; ``warnings`` are said once, at start-up."""

    endpoint: Callable[..., Any]
    read: ReadPolicy | None
    write: WritePolicy | None
    warnings: tuple[str, ...] = ()
