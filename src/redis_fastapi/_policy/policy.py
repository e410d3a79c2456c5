"""What a route does with the cache, compiled: the data, and how it applies to a request.

`compile.py` makes a policy once; a request only fills in its values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import cached_property
from operator import itemgetter
from typing import Any, TypeAlias
from uuid import UUID

from starlette.requests import Request

from .._http import Forward, Reason
from .._redis.keys import EPOCH, Target, digest, group_name, path_name
from .declare import KeyBuilder
from .inputs import EVERYTHING, NO_NAMES, Names
from .resource import PathParameter, ResourceTemplate, path_resource
from .templates import Field, Template, text_of

Values = Mapping[str, object]
Key: TypeAlias = "ResourceTemplate | Callable[..., Any] | None"


@dataclass(frozen=True, slots=True)
class Selectors:
    """What selects the variant of a resource.

    Attributes:
        own: The endpoint's own query parameters, with their names on the wire.
        names: Query parameters, headers and cookies that select by their text.
        path: Path parameters that select by their raw text.
        vary: Values named in ``vary=``.
        body: Whether the request body selects.
    """

    own: tuple[tuple[str, tuple[str, ...]], ...] = ()
    names: Names = NO_NAMES
    path: tuple[str, ...] = ()
    vary: tuple[Field, ...] = ()
    body: bool = False

    def __bool__(self) -> bool:
        return bool(self.own or self.path or self.vary or self.body or any(self.names))

    def parts(self, values: Values, request: Request, body: bytes = b"") -> tuple[str, ...]:
        """The variant as texts, each part preceded by name and count.

        Raises:
            UnkeyableValueError: If ``vary`` names a value without a text of its own.
        """
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


class UnkeyableValueError(Exception):
    """``vary`` names a value without a text of its own, such as a whole user object."""


_name = itemgetter(0)
"""Sort key that keeps the order of the values of one name, which parameters see."""


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
    """A text with type and value, injective over supported types; None for any other type."""
    if isinstance(value, Enum):
        # a combination of flags has no name before Python 3.11
        return f"{type(value).__qualname__}.{value.name}" if value.name else None
    if type(value) in _SIMPLE:
        return f"{type(value).__name__}:{text_of(value)}"
    return None


def has_simple_text(value: object) -> bool:
    """Whether `simple_text` has a text for it."""
    return type(value) in _SIMPLE or simple_text(value) is not None


@dataclass(frozen=True, slots=True)
class Staleness:
    """What a route does when lifetimes end.

    Attributes:
        revalidate_ms: How long an expired entry is served while one run refreshes it.
        error_ms: How long an expired entry may be sent in place of an error.
        beta: Eagerness to refresh before expiry; 0 means never.
        jitter: Fraction by which a lifetime is shortened at random.
    """

    revalidate_ms: int = 0
    error_ms: int = 0
    beta: float = 0.0
    jitter: float = 0.0


@dataclass(frozen=True)
class ReadPolicy:
    """How one endpoint's responses are keyed, stored and described to clients.

    Attributes:
        label: The route in messages and logs.
        template: The route's own path.
        parameters: The parameters of that path.
        key: Another resource: a path over the endpoint's parameters, or an endpoint; None means
            the route's own path.
        key_builder: Names the resource instead of the path.
        prefix: Separates the resource from others.
        selectors: What selects the variant.
        groups: Names by which the entry can be evicted.
        ttl: Lifetime in seconds; 0 means no expiry, None the configured default.
        private: Whether shared caches downstream may not store the response (RFC 9111 section
            5.2.2.7).
        per_user: Whether each entry serves one user only.
        vary: Header names to send in ``Vary``.
        when: The user's predicate on the result.
        uncacheable: Why nothing is ever stored, or None.
        status: Status code of a successful response.
        model: Returns a text that changes with the response model's schema.
        local: Whether the process keeps the entry; None means the setting.
        single_flight: Whether a request waits while another computes the same entry.
        staleness: What happens when an entry's lifetime ends.
        statuses: Lifetimes in seconds of status codes that have their own.
        cdn_ttl: Seconds that shared caches downstream may keep a response; None means as long as
            other caches.
        immutable: Whether a response never changes while it is fresh (RFC 8246).
        directives: Additional Cache-Control directives.
        origin: Module and name of the endpoint, so that two applications on one Redis never
            replay each other's responses.
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
        """How RFC 9211 names a miss here: if headers select, another variant may exist."""
        return Forward.MISS if self.vary or self.selectors.vary else Forward.URI_MISS

    @property
    def keyed_headers(self) -> tuple[str, ...]:
        """Header names in the key; of ``Cookie`` the key may hold single cookies instead."""
        return self.selectors.names.headers

    @cached_property
    def shape(self) -> bytes:
        """8 bytes that change with the route, its endpoint, its selectors or its model."""
        selected = f"{self.selectors!r} {self.private}"
        parts = [self.template.pattern, self.origin, selected, self.model()]
        return bytes.fromhex(digest(parts, size=8))

    def resource_at(self, path_params: Values, mount: str) -> str:
        """The resource at the route's own path with these parameters.

        Raises:
            ValueError: If a parameter is invalid.
        """
        parsed = {p.name: p.parse(path_params[p.name]) for p in self.parameters}
        return path_resource(mount + self.template.render(parsed), self.prefix)

    def target(self, resource: str, selected: tuple[str, ...], groups: Iterable[str]) -> Target:
        """The target of a lookup for a resource and variant."""
        variants = (path_name(resource),) if self.selectors else ()
        generations = (EPOCH, *variants, *map(group_name, groups))
        return Target(digest([resource, *selected]), generations, self.shape)


@dataclass(frozen=True, slots=True)
class Eviction:
    """What one eviction names.

    Attributes:
        groups: Group templates.
        key: A path template over the endpoint's parameters, an endpoint, or None.
        own_path: Whether the path of the request itself is evicted.
        key_builder: Names the resource instead.
        builder_group: The group that is passed to the key builder.
        prefix: Separates the resource from others.
        everything: Whether the whole cache is evicted.
        when: The user's predicate on the result.
        strict: Whether it is an error if Redis does not confirm the eviction.
        soft: Whether entries become stale instead of being removed.
    """

    groups: tuple[Template, ...] = ()
    key: Key = None
    own_path: bool = False
    key_builder: KeyBuilder | None = None
    builder_group: str = ""
    prefix: str = ""
    everything: bool = False
    when: Callable[[Any], bool] | None = None
    strict: bool = False
    soft: bool = False


@dataclass(frozen=True, slots=True)
class Put:
    """A write-through: the resource to write, and what is declared about it.

    Attributes:
        key: A path template over the endpoint's parameters, the GET endpoint, or None for the
            route's own path.
        key_builder: Names the resource instead.
        prefix: Separates the resource from others.
        groups: Groups that the entry is expected to be in; empty means those of the GET.
        ttl: Lifetime in seconds; 0 means no expiry, None the GET's.
        when: The user's predicate on the result.
        by_dependency: Whether problems are warnings instead of errors.
        strict: Whether it is an error if Redis does not confirm the write.
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
        model: Returns a text that changes with the response model's schema.
        modelled: Whether there is a response model, which a returned `Response` bypasses.
        invalidates: Whether the paths that its response names are evicted as well.
        preconditions: Whether the write requires the request's preconditions to hold.
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
        """Whether the response reports that Redis did not confirm this write's evictions."""
        put_is_strict = self.put is not None and self.put.strict
        return put_is_strict or any(eviction.strict for eviction in self.evictions)


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything one route does with the cache; ``warnings`` are logged once, at start-up."""

    endpoint: Callable[..., Any]
    read: ReadPolicy | None
    write: WritePolicy | None
    warnings: tuple[str, ...] = ()
