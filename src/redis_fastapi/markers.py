"""What an endpoint says about caching, written into its return type.

    async def get_product(product_id: int) -> Annotated[Product, Cached(ttl=300, group="products")]:
    ...

A marker is plain data. It is read once, at registration, and checked there against the rules in
`_policy/rules.py`. Constructing one never fails, so that errors can name the route.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from datetime import timedelta
from typing import Annotated, Any, NamedTuple, get_args, get_origin

import typing_extensions
from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema
from starlette.responses import Response


@dataclass(frozen=True, slots=True)
class Marker:
    """Base class of the three markers."""

    # static, because users may write the class where an instance is meant
    @staticmethod
    def __get_pydantic_core_schema__(
        source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """Allow ``Annotated[Response, marker]`` on a plain route; start-up reports it."""
        if inspect.isclass(source) and issubclass(source, Response):
            return core_schema.any_schema()
        return handler(source)


@dataclass(frozen=True, slots=True)
class Cached(Marker):
    """Serve GET from the cache; on a miss, store what the endpoint returns.

    Args:
        ttl: Freshness lifetime, seconds or timedelta, at least one second; None means
            ``REDIS_DEFAULT_TTL``.
        group: Name or names by which the entry can be evicted; each is a template over the
            endpoint's parameters, such as ``"product:{product_id}"`` or ``"user:{user.id}"``.
        key: Another resource to store under: a path template as clients write it, or an endpoint.
        vary: Endpoint parameters (dotted attributes allowed, ``"user.id"``) whose values select the
            entry, instead of the headers and cookies that dependencies read; implies
            ``Cache-Control: private``.
        shared: True declares that the response is the same for every authenticated user.
        private: Add ``private`` to Cache-Control (RFC 9111 section 5.2.2.7).
        stale_while_revalidate: Seconds or timedelta after the lifetime in which the entry is still
            sent while one background run refreshes it (RFC 5861 section 3).
        stale_if_error: Seconds or timedelta after the lifetime in which the entry is sent in place
            of an error: a 500, 502, 503 or 504 response or an exception (RFC 5861 section 4).
        when: Predicate on what the endpoint returned; if false, it is not stored.
        local: Whether each process may keep the entry and serve it from its own memory; None means
            ``REDIS_LOCAL_CACHE``.
        single_flight: If False, requests for a missing entry do not wait for each other.
        beta: Eagerness to refresh in the background before the lifetime ends, the more likely the
            closer its end and the slower the endpoint (XFetch); 1 is usual, 0 means never.
        jitter: Fraction, below 1, by which lifetimes are shortened at random, so that entries made
            together do not expire together.
        statuses: Additional status codes to store, each with its own lifetime (seconds or
            timedelta), such as ``{404: 10}``; also when the endpoint raises ``HTTPException``.
        cdn_ttl: Lifetime in shared caches downstream, seconds or timedelta: ``s-maxage`` and
            ``CDN-Cache-Control`` (RFC 9111 section 5.2.2.10, RFC 9213).
        immutable: Declare that a response does not change while it is fresh (RFC 8246).
        directives: Additional Cache-Control directives, such as ``"must-revalidate"``.
    """

    ttl: int | timedelta | None = None
    _: KW_ONLY
    group: str | tuple[str, ...] = ()
    key: str | Callable[..., Any] | None = None
    vary: str | tuple[str, ...] = ()
    shared: bool | None = None
    private: bool = False
    stale_while_revalidate: int | timedelta = 0
    stale_if_error: int | timedelta = 0
    when: Callable[[Any], bool] | None = None
    local: bool | None = None
    single_flight: bool = True
    beta: float = 0.0
    jitter: float = 0.0
    statuses: Mapping[int, int | timedelta] | None = None
    cdn_ttl: int | timedelta | None = None
    immutable: bool = False
    directives: str | tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CachePut(Marker):
    """Write the response of a successful PUT, PATCH or POST to the entry that its GET reads.

    Args:
        ttl: Freshness lifetime, seconds or timedelta; None means the lifetime the GET declares.
        group: Must agree with the GET's groups; empty means those of the GET.
        key: The resource to write: a path template as clients write it, or the GET endpoint
            itself; None means the path of this route.
        when: Predicate on what the endpoint returned; if false, the entry is evicted instead.
        strict: If True, respond with 503 when Redis did not confirm that the old entry is gone;
            what the endpoint did is not undone.
        preconditions: If True, respond with 412 before the endpoint runs when ``If-Match`` and
            similar fields do not match the current response to GET (RFC 9110 section 13.1).
    """

    ttl: int | timedelta | None = None
    _: KW_ONLY
    group: str | tuple[str, ...] = ()
    key: str | Callable[..., Any] | None = None
    when: Callable[[Any], bool] | None = None
    strict: bool = False
    preconditions: bool = False


@dataclass(frozen=True, slots=True)
class CacheEvict(Marker):
    """Evict groups or a path after the endpoint has succeeded, before its response is sent.

    Args:
        group: Name or names to evict; templates over the endpoint's parameters.
        key: Resource to evict, with every variant (query, header, user): a path template as
            clients write it, or the endpoint that serves it.
        when: Predicate on what the endpoint returned; if false, nothing is evicted.
        strict: If True, respond with 503 when Redis did not confirm the eviction; what the
            endpoint did is not undone.
        soft: If True, make entries stale instead of removing them, to be served within the windows
            of ``stale_while_revalidate`` and ``stale_if_error``; without these they are gone.
        preconditions: If True, respond with 412 before the endpoint runs when ``If-Match`` and
            similar fields do not match the current response to GET (RFC 9110 section 13.1).
    """

    _: KW_ONLY
    group: str | tuple[str, ...] = ()
    key: str | Callable[..., Any] | None = None
    when: Callable[[Any], bool] | None = None
    strict: bool = False
    soft: bool = False
    preconditions: bool = False


class Found(NamedTuple):
    """The result of ``find_markers``.

    Attributes:
        annotation: The annotation for FastAPI: without our markers, otherwise unchanged.
        markers: The markers that take effect, in the order written.
        classes: Names of markers written as a class instead of an instance.
        misplaced: Names of markers nested where they have no effect.
    """

    annotation: Any
    markers: tuple[Marker, ...]
    classes: tuple[str, ...]
    misplaced: tuple[str, ...]


def find_markers(annotation: Any) -> Found:
    """Separate the markers from an annotation, through aliases and nested ``Annotated``."""
    bare, found = _split(annotation)
    markers = tuple(item for item in found if isinstance(item, Marker))
    classes = tuple(item.__name__ for item in found if not isinstance(item, Marker))
    return Found(bare, markers, classes, tuple(_nested(bare)))


_ALIASES: tuple[Any, ...] = (typing_extensions.TypeAliasType,)
if sys.version_info >= (3, 12):
    import typing

    _ALIASES = (typing_extensions.TypeAliasType, typing.TypeAliasType)


def _is_ours(item: Any) -> bool:
    return isinstance(item, Marker) or (inspect.isclass(item) and issubclass(item, Marker))


def _alias_value(annotation: Any) -> Any:
    """The value of a ``type X = ...`` alias, parametrised or not; None for anything else."""
    origin = get_origin(annotation)
    if isinstance(origin, _ALIASES):
        return origin.__value__[get_args(annotation)]
    if isinstance(annotation, _ALIASES):
        return annotation.__value__
    return None


def _split(annotation: Any) -> tuple[Any, list[Any]]:
    value = _alias_value(annotation)
    if value is not None:
        bare, found = _split(value)
        return (bare, found) if found else (annotation, [])
    if get_origin(annotation) is not Annotated:
        return annotation, []
    base, *metadata = get_args(annotation)
    bare, found = _split(base)
    found += [item for item in metadata if _is_ours(item)]
    if not found:
        return annotation, []
    kept = [item for item in metadata if not _is_ours(item)]
    for item in kept:
        bare = Annotated[bare, item]
    return (None if bare is type(None) else bare), found


def _nested(annotation: Any, above: tuple[Any, ...] = ()) -> Iterator[str]:
    """Names of markers nested in an annotation: ``list[Annotated[...]]``, ``... | None``.

    ``above`` holds the aliases being expanded, since an alias may refer to itself.
    """
    value = _alias_value(annotation)
    if value is not None:
        if annotation not in above:
            yield from _nested(value, (*above, annotation))
        return
    for part in _arguments(annotation):
        for item in find_markers_at(part):
            yield item.__name__ if inspect.isclass(item) else type(item).__name__
        yield from _nested(part, above)


def _arguments(annotation: Any) -> tuple[Any, ...]:
    """The arguments of a generic; for pydantic a parametrised model is a plain class."""
    generic = getattr(annotation, "__pydantic_generic_metadata__", None)
    return tuple(generic["args"]) if generic else get_args(annotation)


def find_markers_at(annotation: Any) -> list[Any]:
    """Markers, as instances or classes, at the top level of an annotation."""
    return _split(annotation)[1]
