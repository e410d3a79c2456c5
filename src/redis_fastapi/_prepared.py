"""Answers that were assembled once and are sent again: to the same question, while nothing in them
would differ.

What time changes in an answer from the cache are whole seconds, its age and what is left of its
lifetime. So an answer holds until the next of these seconds begins.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from ._answers import raw_response
from ._entry import Entry
from ._http import Headers

_SECOND_MS = 1_000

_LONGEST_ASKED = 256
"""Bytes of the question; clients choose them, and the answer is kept with it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An answer made of an entry.

    Attributes:
        asked: The fields of the request that it depends on.
        begins_ms: When it was made, in milliseconds since 1970.
        ends_ms: When one of its seconds is over.
        status: Its status code.
        headers: Its fields.
        body: The entry's, or nothing.
    """

    asked: Headers
    begins_ms: int
    ends_ms: int
    status: int
    headers: Headers
    body: bytes

    def answers(self, asked: Headers, now_ms: int) -> bool:
        """Whether it is the answer to these fields now."""
        return self.begins_ms <= now_ms < self.ends_ms and self.asked == asked

    def response(self) -> Response:
        """The answer; its list of fields is nobody else's."""
        return raw_response(self.status, self.headers, self.body)


def prepared(entry: Entry, response: Response, asked: Headers, now_ms: int) -> Prepared | None:
    """The answer that an entry gave, to be sent again; None where more than its seconds decide."""
    status = response.status_code
    simple = all(name == b"if-none-match" for name, _ in asked)
    long = sum(len(value) for _, value in asked) > _LONGEST_ASKED
    coded = any(name == b"content-encoding" for name, _ in entry.headers)
    if not simple or long or coded or status not in (entry.status, 304):
        return None
    body = entry.body if status == entry.status else b""
    ends_ms = _next_second_ms(entry, now_ms)
    return Prepared(asked, now_ms, ends_ms, status, tuple(response.raw_headers), body)


def _next_second_ms(entry: Entry, now_ms: int) -> int:
    """When its age or what is left of its lifetime is another number of seconds."""
    older_ms = now_ms + _SECOND_MS - (now_ms - entry.created_ms) % _SECOND_MS
    if not entry.fresh_ms:
        return older_ms
    expires_ms = entry.created_ms + entry.fresh_ms
    shorter_ms = now_ms + (expires_ms - now_ms) % _SECOND_MS + 1
    return min(older_ms, shorter_ms, expires_ms)
