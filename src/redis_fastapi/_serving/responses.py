"""Responses made from entries, and the header fields that are stored and sent."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from copy import copy
from typing import NamedTuple

from starlette.responses import Response
from starlette.types import Scope

from .. import _http
from .._http import Headers
from .._policy.policy import ReadPolicy
from .._redis.entry import Entry
from .variants import without_selection

OWN_RESPONSE = (b"x-redis-fastapi-own-response", b"1")
"""Marks a stored response that the endpoint built itself, to which FastAPI adds no fields.

It is the first stored field, and is never sent.
"""

_REPLACED = frozenset(
    {b"cache-control", b"content-type", b"etag", b"expires", b"last-modified", b"location"}
)
"""Fields that occur once: a dependency's current value replaces the stored one."""


class Windows(NamedTuple):
    """How long a response may be sent stale, in milliseconds (RFC 5861).

    Attributes:
        revalidate_ms: While it is refreshed.
        error_ms: In place of errors.
    """

    revalidate_ms: int = 0
    error_ms: int = 0


def kept_headers(own: Headers) -> list[tuple[bytes, bytes]]:
    """The endpoint's fields that are stored unchanged."""
    ours = (b"vary", b"cache-control")
    return [pair for pair in _http.storable_headers(own) if pair[0] not in ours]


def announced_headers(
    policy: ReadPolicy,
    own: Headers,
    lifetime_ms: int | None,
    windows: Windows,
    *,
    usual: bool = True,
) -> list[tuple[bytes, bytes]]:
    """The Cache-Control and Vary to send, unless the endpoint sets its own.

    Args:
        policy: The policy of the GET.
        own: The endpoint's fields.
        lifetime_ms: Freshness lifetime in milliseconds; None means no expiry.
        windows: How long the response may be sent stale.
        usual: False for a status code with its own lifetime, to which ``cdn_ttl`` and ``immutable``
            do not apply.
    """
    cdn_ttl = policy.cdn_ttl if usual and not policy.private else None
    built = _http.cache_control_value(
        max_age=None if lifetime_ms is None else lifetime_ms // 1000,
        private=policy.private,
        stale_while_revalidate=windows.revalidate_ms // 1000,
        stale_if_error=windows.error_ms // 1000,
        s_maxage=cdn_ttl,
        immutable=policy.immutable and usual,
        extra=policy.directives,
    )
    control = _http.cache_control_to_send(own, built, private=policy.private)
    vary = _http.merged_vary(own, [name.encode() for name in policy.vary])
    announced = [] if control is None else [(b"cache-control", control)]
    if control is built and cdn_ttl and not any(name == _CDN for name, _ in own):
        announced.append((_CDN, _http.cdn_cache_control_value(max_age=cdn_ttl)))
    if vary is not None:
        announced.append((b"vary", vary))
    return announced


def unstored_headers(policy: ReadPolicy, headers: Headers) -> list[tuple[bytes, bytes]]:
    """The fields of a response that is not stored, with the declared ``private`` and Vary."""
    control = _http.cache_control_to_send(headers, b"private", private=policy.private)
    vary = _http.merged_vary(headers, [name.encode() for name in policy.vary])
    own = [pair for pair in headers if pair[0] not in (b"vary", b"cache-control")]
    if control is not None and (policy.private or control != b"private"):
        own.append((b"cache-control", control))
    if vary is not None:
        own.append((b"vary", vary))
    return for_one_user(own)


_CDN = b"cdn-cache-control"


def with_fresh(stored: Headers, fresh: Headers) -> list[tuple[bytes, bytes]]:
    """Stored fields and those set for this request, which replace stored single-value fields."""
    if not fresh:
        return list(stored)
    replaced = _REPLACED.intersection(name for name, _ in fresh)
    return for_one_user([*(pair for pair in stored if pair[0] not in replaced), *fresh])


def for_one_user(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields, with ``private`` added if they set a cookie, which must not be shared."""
    if not any(name == b"set-cookie" for name, _ in headers):
        return headers
    control = _http.cache_control_to_send(headers, b"private", private=True) or b"private"
    directives = _http.response_directives([(b"cache-control", control)])
    if not (directives.no_store or directives.private):
        control += b", private"
    return [*(pair for pair in headers if pair[0] != b"cache-control"), (b"cache-control", control)]


def without(headers: Headers, removed: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields without one occurrence of each removed one."""
    left = list(headers)
    for pair in removed:
        if pair in left:
            left.remove(pair)
    return left


def replayed(scope: Scope, entry: Entry, fresh: Headers, now_ms: int, added: Headers) -> Response:
    """The stored response with Age, the fields that dependencies set, and the cache's own.

    Args:
        scope: The request's ASGI scope; its conditions and ranges are applied.
        entry: The stored response.
        fresh: Fields set by dependencies for this request.
        now_ms: Current time, in milliseconds since 1970.
        added: The cache's own fields.
    """
    stored = without_selection(entry.headers)
    if stored and stored[0] == OWN_RESPONSE:
        stored, fresh = stored[1:], ()
    age = _http.age_seconds(created_ms=entry.created_ms, now_ms=now_ms)
    headers = [*with_fresh(stored, fresh), (b"age", b"%d" % age), *added]
    response = raw_response(entry.status, headers, entry.body)
    return conditional_response(scope, response, now_ms=now_ms, received_ms=entry.created_ms)


def set_entry_headers(response: Response, entry: Entry, fresh: Headers) -> None:
    """Give the endpoint's response the fields that its entry has."""
    stored = [pair for pair in without_selection(entry.headers) if pair != OWN_RESPONSE]
    names = {name for name, _ in stored}
    unstored = [pair for pair in without(response.raw_headers, fresh) if pair[0] not in names]
    response.raw_headers[:] = with_fresh(stored, [*unstored, *fresh])


def conditional_response(
    scope: Scope, response: Response, *, now_ms: int, received_ms: int | None = None
) -> Response:
    """The response itself, or the 206, 304, 412 or 416 that this request gets instead.

    Args:
        scope: The request's ASGI scope.
        response: A complete response.
        now_ms: Current time, in milliseconds since 1970.
        received_ms: When the response was stored; None if it was just computed.
    """
    requested = scope["headers"]
    if _http.unconditional(requested):
        return response
    in_parts = any(name == b"range" for name, _ in requested)
    if in_parts and _may_be_compressed(scope):
        requested = [pair for pair in requested if pair[0] != b"range"]
    body = bytes(response.body)
    status, headers, content = _http.conditional_message(
        scope["method"],
        requested,
        status=response.status_code,
        headers=response.raw_headers,
        body=body,
        received_ms=received_ms,
        now_ms=now_ms,
        boundary=secrets.token_hex(16).encode() if in_parts else b"",
    )
    if status == response.status_code and content == body:
        return response
    selected = raw_response(status, headers, content)
    selected.background = response.background
    return selected


_COMPRESSORS = ("brotli", "compress", "gzip", "zstd")


def _may_be_compressed(scope: Scope) -> bool:
    """Whether a middleware may compress the response, which would corrupt a 206."""
    classes = (str(one.cls.__name__).lower() for one in scope["app"].user_middleware)
    installed = any(word in name for name in classes for word in _COMPRESSORS)
    return installed and any(name == b"accept-encoding" for name, _ in scope["headers"])


def own_copy(response: Response) -> Response:
    """A copy with its own header fields, since an endpoint may return one object repeatedly."""
    copied = copy(response)
    # endpoints may set names in upper case
    copied.raw_headers = _http.lower_names(response.raw_headers)
    # otherwise Starlette's cached view would show and change the original's fields
    vars(copied).pop("_headers", None)
    return copied


def raw_response(status: int, headers: Headers, body: bytes) -> Response:
    """A response with exactly these fields and this body; nothing is rendered."""
    response = Response.__new__(Response)
    response.status_code = status
    response.body = body
    response.background = None
    response.raw_headers = list(headers)
    return response
