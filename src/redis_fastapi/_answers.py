"""Header blocks and responses: what is stored, and what is sent with what is known only now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from . import _http
from ._entry import Entry
from ._http import Headers
from ._policy import ReadPolicy

OWN_RESPONSE = (b"x-redis-fastapi-own-response", b"1")
"""First stored field of a response that the endpoint built itself: FastAPI adds nothing to it."""

_REPLACED = frozenset(
    {b"cache-control", b"content-type", b"etag", b"expires", b"last-modified", b"location"}
)
"""Fields of which a response has one: what a dependency says now stands for what was stored."""


class Windows(NamedTuple):
    """How long an answer may be sent after its lifetime: while it is refreshed, and for errors."""

    revalidate_ms: int
    error_ms: int


def stored_headers(
    policy: ReadPolicy, own: Headers, body: bytes, lifetime_ms: int | None, windows: Windows
) -> list[tuple[bytes, bytes]]:
    """The fields to store: the endpoint's own, completed by validator, lifetime and Vary."""
    kept = [
        pair for pair in _http.storable_headers(own) if pair[0] not in (b"vary", b"cache-control")
    ]
    built = _http.cache_control_value(
        max_age=None if lifetime_ms is None else lifetime_ms // 1000,
        private=policy.private,
        stale_while_revalidate=windows.revalidate_ms // 1000,
        stale_if_error=windows.error_ms // 1000,
    )
    control = _http.cache_control_to_send(own, built, private=policy.private)
    vary = _http.merged_vary(own, [name.encode() for name in policy.vary])
    if not any(name == b"etag" for name, _ in kept):
        kept.append((b"etag", _http.etag_for(body)))
    if control is not None:
        kept.append((b"cache-control", control))
    if vary is not None:
        kept.append((b"vary", vary))
    return [(b"content-length", b"%d" % len(body)), *kept]


def unstored_headers(policy: ReadPolicy, headers: Headers) -> list[tuple[bytes, bytes]]:
    """The fields of an answer that is not stored, still announcing whom it is for."""
    control = _http.cache_control_to_send(headers, b"private", private=policy.private)
    vary = _http.merged_vary(headers, [name.encode() for name in policy.vary])
    own = [pair for pair in headers if pair[0] not in (b"vary", b"cache-control")]
    if control is not None and (policy.private or control != b"private"):
        own.append((b"cache-control", control))
    if vary is not None:
        own.append((b"vary", vary))
    return for_one_user(own)


def with_fresh(stored: Headers, fresh: Headers) -> list[tuple[bytes, bytes]]:
    """Stored fields and those of this very request, which win where there can be only one."""
    if not fresh:
        return list(stored)
    replaced = _REPLACED.intersection(name for name, _ in fresh)
    return for_one_user([*(pair for pair in stored if pair[0] not in replaced), *fresh])


def for_one_user(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields, and ``private`` where they set a cookie: no cache downstream may share that."""
    if not any(name == b"set-cookie" for name, _ in headers):
        return headers
    control = _http.cache_control_to_send(headers, b"private", private=True) or b"private"
    said = _http.response_directives([(b"cache-control", control)])
    if not (said.no_store or said.private):
        control += b", private"
    return [*(pair for pair in headers if pair[0] != b"cache-control"), (b"cache-control", control)]


def without(headers: Headers, removed: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The fields less one of each removed."""
    left = list(headers)
    for pair in removed:
        if pair in left:
            left.remove(pair)
    return left


def replayed(request: Request, entry: Entry, fresh: Headers, now_ms: int, state: bytes) -> Response:
    """The stored response, with its age and what dependencies said this time."""
    stored: Headers = entry.headers
    if stored and stored[0] == OWN_RESPONSE:
        stored, fresh = stored[1:], ()
    age = _http.age_seconds(created_ms=entry.created_ms, now_ms=now_ms)
    headers = with_fresh(stored, fresh)
    headers += ((b"age", b"%d" % age), (b"x-redis-cache", state))
    unchanged = _precondition_answer(request, entry.status, headers, entry.created_ms, now_ms)
    return unchanged or raw_response(entry.status, headers, entry.body)


def announced(
    request: Request, response: Response, entry: Entry, fresh: Headers, now_ms: int
) -> Response:
    """The endpoint's response with the fields its stored form has; 304 where the client has it."""
    stored = [pair for pair in entry.headers if pair != OWN_RESPONSE]
    names = {name for name, _ in stored}
    unstored = [pair for pair in without(response.raw_headers, fresh) if pair[0] not in names]
    response.raw_headers = with_fresh(stored, [*unstored, *fresh])
    answer = _precondition_answer(request, response.status_code, response.raw_headers, None, now_ms)
    if answer is None:
        return response
    answer.background = response.background
    return answer


def _precondition_answer(
    request: Request, status: int, headers: Headers, received_ms: int | None, now_ms: int
) -> Response | None:
    """304 or 412 where the request's preconditions ask for it (RFC 9110 section 13.2.2)."""
    asked = request.scope["headers"]
    validators = _http.validators_of(headers, now_ms=now_ms, received_ms=received_ms)
    outcome = _http.evaluate_preconditions(
        request.method, asked, validators, now_ms=now_ms, status=status
    )
    if outcome is _http.Outcome.NOT_MODIFIED:
        return raw_response(304, _http.not_modified_headers(headers), b"")
    if outcome is _http.Outcome.PRECONDITION_FAILED:
        return raw_response(412, [*_http.failure_headers(headers), (b"content-length", b"0")], b"")
    return None


def raw_response(status: int, headers: Headers, body: bytes) -> Response:
    """A response with exactly these fields; nothing is rendered anew."""
    response = Response.__new__(Response)
    response.status_code = status
    response.body = body
    response.background = None
    response.raw_headers = list(headers)
    return response
