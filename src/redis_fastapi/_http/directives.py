"""Directives of Cache-Control and Pragma (RFC 9111 sections 5.2 and 5.4, RFC 5861, RFC 8246).

Names are case-insensitive, arguments may be quoted, the strictest of repeated directives applies,
and unknown ones are ignored. A malformed lifetime is ignored in a request, and 0 in a response.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from .fields import (
    OWS,
    Headers,
    bounded_decimal,
    is_token,
    list_elements,
    split_list,
    unquote,
)

DELTA_SECONDS_MAX: Final = 2**31
"""Largest lifetime in seconds; greater values are read as this one (RFC 9111 section 1.2.2)."""

_Arguments: TypeAlias = dict[bytes, list[bytes | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestDirectives:
    """The directives of a request (RFC 9111 section 5.2.1); all numbers are seconds.

    `max_stale` without an argument is `DELTA_SECONDS_MAX`: any staleness is acceptable.
    """

    no_store: bool = False
    no_cache: bool = False
    max_age: int | None = None
    max_stale: int | None = None
    min_fresh: int | None = None
    stale_if_error: int | None = None
    only_if_cached: bool = False


DIRECTIVE_FIELDS: Final = frozenset({b"cache-control", b"pragma"})

IGNORED: Final = RequestDirectives()
"""The directives of a client that sent none, or that is not obeyed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseDirectives:
    """The directives of a response (RFC 9111 section 5.2.2); all numbers are seconds.

    `no_cache` and `private` are the unqualified forms, which apply to the whole response; fields
    named by the qualified forms are in `no_cache_fields` and `private_fields`, in lower case.
    """

    no_store: bool = False
    no_cache: bool = False
    no_cache_fields: frozenset[bytes] = frozenset()
    private: bool = False
    private_fields: frozenset[bytes] = frozenset()
    public: bool = False
    max_age: int | None = None
    s_maxage: int | None = None
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    immutable: bool = False
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None


_UNSTATED: Final = ResponseDirectives()


def request_directives(headers: Headers) -> RequestDirectives:
    """Parse the request's Cache-Control, or Pragma if it has none (RFC 9111 section 5.4)."""
    if DIRECTIVE_FIELDS.isdisjoint([name for name, _ in headers]):
        return IGNORED
    arguments = _arguments_by_name(headers)
    if arguments is None:
        return RequestDirectives(no_cache=True) if _pragma_no_cache(headers) else IGNORED
    return RequestDirectives(
        no_store=b"no-store" in arguments,
        no_cache=b"no-cache" in arguments,
        max_age=_seconds(arguments, b"max-age", strictest=min),
        max_stale=_seconds(arguments, b"max-stale", strictest=min, bare=DELTA_SECONDS_MAX),
        min_fresh=_seconds(arguments, b"min-fresh", strictest=max),
        stale_if_error=_seconds(arguments, b"stale-if-error", strictest=min),
        only_if_cached=b"only-if-cached" in arguments,
    )


def response_directives(headers: Headers) -> ResponseDirectives:
    """Parse the response's Cache-Control; invalid lifetimes are 0 (RFC 9111 section 4.2.1)."""
    arguments = _arguments_by_name(headers)
    if arguments is None:
        return _UNSTATED
    no_cache, no_cache_fields = _qualified(arguments, b"no-cache")
    private, private_fields = _qualified(arguments, b"private")
    return ResponseDirectives(
        no_store=b"no-store" in arguments,
        no_cache=no_cache,
        no_cache_fields=no_cache_fields,
        private=private,
        private_fields=private_fields,
        public=b"public" in arguments,
        max_age=_lifetime(arguments, b"max-age"),
        s_maxage=_lifetime(arguments, b"s-maxage"),
        must_revalidate=b"must-revalidate" in arguments,
        proxy_revalidate=b"proxy-revalidate" in arguments,
        must_understand=b"must-understand" in arguments,
        immutable=b"immutable" in arguments,
        stale_while_revalidate=_lifetime(arguments, b"stale-while-revalidate"),
        stale_if_error=_lifetime(arguments, b"stale-if-error"),
    )


def _arguments_by_name(headers: Headers) -> _Arguments | None:
    if b"cache-control" not in [name for name, _ in headers]:
        return None
    arguments: _Arguments = {}
    for name, argument in _parsed(list_elements(headers, b"cache-control")):
        arguments.setdefault(name, []).append(argument)
    return arguments


def _parsed(elements: Iterable[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
    for element in elements:
        name, equals, argument = element.partition(b"=")
        yield name.rstrip(OWS).lower(), unquote(argument.strip(OWS)) if equals else None


def _pragma_no_cache(headers: Headers) -> bool:
    return any(element.lower() == b"no-cache" for element in list_elements(headers, b"pragma"))


def _seconds(
    arguments: _Arguments,
    name: bytes,
    *,
    strictest: Callable[[Iterable[int]], int],
    bare: int | None = None,
    invalid: int | None = None,
) -> int | None:
    stated = [
        bare if argument is None else _delta_seconds(argument, invalid)
        for argument in arguments.get(name, ())
    ]
    valid = [seconds for seconds in stated if seconds is not None]
    return strictest(valid) if valid else None


def _lifetime(arguments: _Arguments, name: bytes) -> int | None:
    return _seconds(arguments, name, strictest=min, bare=0, invalid=0)


def _delta_seconds(argument: bytes, invalid: int | None) -> int | None:
    seconds = bounded_decimal(argument, ceiling=DELTA_SECONDS_MAX)
    return invalid if seconds is None else seconds


def _qualified(arguments: _Arguments, name: bytes) -> tuple[bool, frozenset[bytes]]:
    fields: set[bytes] = set()
    for argument in arguments.get(name, ()):
        named = [field.strip(OWS).lower() for field in split_list(argument or b"")]
        if not all(map(is_token, named)):
            return True, frozenset()
        fields.update(named)
    return False, frozenset(fields)
