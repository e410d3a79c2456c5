"""Responses that are assembled once and sent again for equal requests.

A response from the cache depends on time only by its age and its remaining lifetime, both in whole
seconds. So a prepared response is valid until either changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from .._engine.engine import Hit, Outcome
from .._http import Headers
from .._redis.entry import Entry, Stored, stored_of
from .._redis.store import Snapshot
from .responses import raw_response

_SECOND_MS = 1_000

_MOST_REQUEST_BYTES = 256
"""Limit in bytes of the request fields kept with a prepared response, since clients choose them."""

_VARYING = (b"content-encoding", b"vary")
"""Response fields that make other request headers relevant."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A response assembled from an entry, without its body.

    Attributes:
        entry: The entry, without its body.
        stored: Its stored form; None if that is unknown or its body is compressed.
        request_fields: The request fields that the response depends on.
        begins_ms: When it was assembled, in milliseconds since 1970.
        ends_ms: When its age or remaining lifetime changes, in milliseconds since 1970.
        ttl: Remaining lifetime in seconds; None means no expiry.
        status: Its status code.
        headers: Its header fields.
    """

    entry: Entry
    stored: Stored | None
    request_fields: Headers
    begins_ms: int
    ends_ms: int
    ttl: int | None
    status: int
    headers: Headers

    def is_given_by(self, entry: Entry, now_ms: int) -> bool:
        """Whether an entry gives this same response now."""
        source = self.entry
        return (
            self.begins_ms <= now_ms < self.ends_ms
            and source.created_ms == entry.created_ms
            and source.fresh_ms == entry.fresh_ms
            and source.status == entry.status
            and source.headers == entry.headers
        )

    def body_in(self, read: Snapshot, now_ms: int) -> bytes | None:
        """The body to send with it, if its entry was read unchanged; otherwise None."""
        if self.stored is None or not self.begins_ms <= now_ms < self.ends_ms:
            return None
        return self.stored.body_in(read.raw, read.tokens)

    def response(self, body: bytes) -> Response:
        """The response with its own list of header fields, given the entry's body."""
        sent = body if self.status == self.entry.status else b""
        return raw_response(self.status, self.headers, sent)


def plain_hit(found: Outcome | None) -> Hit | None:
    """The hit, unless it waited for another request, which its Cache-Status reports."""
    return found if isinstance(found, Hit) and not found.collapsed else None


def prepared(
    hit: Hit, response: Response, request_fields: Headers, *, now_ms: int, ttl: int | None
) -> Prepared | None:
    """The prepared form of a response; None if it depends on more than entry and time.

    Args:
        hit: The hit from which the response was assembled.
        response: The response as sent.
        request_fields: The request's conditional, range and directive fields.
        now_ms: When it was assembled, in milliseconds since 1970.
        ttl: Remaining lifetime in seconds; None means no expiry.
    """
    entry, read = hit.entry, hit.read
    status, headers = response.status_code, tuple(response.raw_headers)
    simple = all(name == b"if-none-match" for name, _ in request_fields)
    long = sum(len(value) for _, value in request_fields) > _MOST_REQUEST_BYTES
    varies = any(name in _VARYING for name, _ in entry.headers)
    if not simple or long or varies or status not in (entry.status, 304):
        return None
    ends_ms = _next_second_ms(entry, now_ms)
    stored = None if read is None else stored_of(read.raw, read.tokens)
    source = entry._replace(body=b"")
    return Prepared(source, stored, request_fields, now_ms, ends_ms, ttl, status, headers)


def _next_second_ms(entry: Entry, now_ms: int) -> int:
    """When age or remaining lifetime, in whole seconds, next change; milliseconds since 1970."""
    older_ms = now_ms + _SECOND_MS - (now_ms - entry.created_ms) % _SECOND_MS
    if not entry.fresh_ms:
        return older_ms
    expires_ms = entry.created_ms + entry.fresh_ms
    shorter_ms = now_ms + (expires_ms - now_ms) % _SECOND_MS + 1
    return min(older_ms, shorter_ms, expires_ms)
