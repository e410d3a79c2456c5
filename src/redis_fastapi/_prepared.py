"""Answers that were assembled once and are sent again: to the same question, while nothing in them
would differ.

What time changes in an answer from the cache are whole seconds, its age and what is left of its
lifetime. So an answer holds until the next of these seconds begins.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from ._answers import raw_response
from ._engine import Hit, Outcome
from ._entry import Entry
from ._http import Headers

_SECOND_MS = 1_000

_LONGEST_ASKED = 256
"""Bytes of the question; clients choose them, and the answer is kept with it."""

_CHOSEN_BY = (b"content-encoding", b"vary")
"""Fields of answers that other headers of a request may refuse."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An answer made of an entry, without its body.

    Attributes:
        entry: What it was made of; the body is left out.
        asked: The fields of the request that it depends on.
        begins_ms: When it was made, in milliseconds since 1970.
        ends_ms: When one of its seconds is over.
        ttl: Seconds of its lifetime that are left; None is no expiry.
        status: Its status code.
        headers: Its fields.
    """

    entry: Entry
    asked: Headers
    begins_ms: int
    ends_ms: int
    ttl: int | None
    status: int
    headers: Headers

    def is_given_by(self, entry: Entry, now_ms: int) -> bool:
        """Whether it is what an entry gives, to what was asked, now."""
        source = self.entry
        return (
            self.begins_ms <= now_ms < self.ends_ms
            and source.created_ms == entry.created_ms
            and source.fresh_ms == entry.fresh_ms
            and source.status == entry.status
            and source.headers == entry.headers
        )

    def response(self, entry: Entry) -> Response:
        """The answer; its list of fields is nobody else's."""
        body = entry.body if self.status == entry.status else b""
        return raw_response(self.status, self.headers, body)


def plain_hit(found: Outcome | None) -> Hit | None:
    """What was found, if its answer is the same the next time; of who waited it tells that."""
    return found if isinstance(found, Hit) and not found.collapsed else None


def prepared(
    entry: Entry, response: Response, asked: Headers, *, now_ms: int, ttl: int | None
) -> Prepared | None:
    """The answer that an entry gave, to be sent again; None where more than its seconds decide."""
    status, headers = response.status_code, tuple(response.raw_headers)
    simple = all(name == b"if-none-match" for name, _ in asked)
    long = sum(len(value) for _, value in asked) > _LONGEST_ASKED
    varies = any(name in _CHOSEN_BY for name, _ in entry.headers)
    if not simple or long or varies or status not in (entry.status, 304):
        return None
    ends_ms = _next_second_ms(entry, now_ms)
    return Prepared(entry._replace(body=b""), asked, now_ms, ends_ms, ttl, status, headers)


def _next_second_ms(entry: Entry, now_ms: int) -> int:
    """When its age or what is left of its lifetime is another number of seconds."""
    older_ms = now_ms + _SECOND_MS - (now_ms - entry.created_ms) % _SECOND_MS
    if not entry.fresh_ms:
        return older_ms
    expires_ms = entry.created_ms + entry.fresh_ms
    shorter_ms = now_ms + (expires_ms - now_ms) % _SECOND_MS + 1
    return min(older_ms, shorter_ms, expires_ms)
