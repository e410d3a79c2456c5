"""Whether an entry may be sent for a request (RFC 9111 section 4): decisions without I/O."""

from __future__ import annotations

from typing import NamedTuple

from .. import _http
from .._engine.engine import Hit, Stale
from .._http import Forward, Freshness, Headers, MustRevalidate, RequestDirectives
from .._redis.entry import Entry
from .variants import matches


class Requirements(NamedTuple):
    """What a request requires of an entry.

    Attributes:
        headers: The request's header fields.
        directives: Its Cache-Control; `IGNORED` if that is not obeyed.
        shared: Whether the entry may also serve other users.
        only_fresh: Whether it refuses any stale entry.
    """

    headers: Headers
    directives: RequestDirectives
    shared: bool
    only_fresh: bool

    def accepts(self, entry: Entry) -> bool:
        """Whether an entry is the variant for this request, in an acceptable encoding."""
        suits = matches(entry, self.headers)
        return suits and _http.encoding_acceptable(self.headers, entry.headers)

    def never_stale(self, entry: Entry) -> bool:
        """Whether an entry may not be sent past its lifetime, even to a client that accepts it."""
        if self.only_fresh:
            return True
        directives = _http.response_directives(entry.headers)
        return _http.stale_forbidden(directives, shared=self.shared)


def assess(required: Requirements, found: Hit | Stale, now_ms: int) -> Freshness:
    """Whether an entry is as fresh as the client requires, and acceptable to it."""
    entry = found.entry
    if not required.accepts(entry):
        return MustRevalidate(Forward.VARY_MISS)
    age_ms = now_ms - entry.created_ms
    if isinstance(found, Hit):
        lifetime_ms = entry.fresh_ms or None
        return _http.assess_freshness(required.directives, age_ms=age_ms, lifetime_ms=lifetime_ms)
    return _http.assess_freshness(
        required.directives,
        age_ms=age_ms,
        # a softly evicted entry counts as stale from now on
        lifetime_ms=min(age_ms, entry.fresh_ms or age_ms),
        stale_while_revalidate_ms=entry.revalidate_ms,
        never_stale=required.never_stale(entry),
    )


def stands_in(required: Requirements, entry: Entry, now_ms: int) -> bool:
    """Whether an entry may be sent in place of an error (RFC 5861 section 4)."""
    usable = _http.usable_on_error(
        required.directives,
        staleness_ms=entry.staleness_ms(now_ms),
        stale_if_error_ms=entry.error_ms,
        never_stale=required.never_stale(entry),
    )
    return usable and not required.directives.no_cache and required.accepts(entry)
