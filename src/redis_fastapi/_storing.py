"""Whether an answer may be stored, and as which entry: one question for reads and for writes."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from . import _http
from ._answers import Windows, stored_headers
from ._entry import Entry
from ._http import Headers, Reason
from ._policy import ReadPolicy
from .settings import RedisSettings


@dataclass(frozen=True, slots=True)
class Storing:
    """How answers to one cached GET become entries.

    Attributes:
        policy: Of the GET that will read the entry.
        settings: The limits of size.
        ttl_ms: Lifetime where the answer itself states no shorter one; None is no expiry.
    """

    policy: ReadPolicy
    settings: RedisSettings
    ttl_ms: int | None

    def entry(
        self, status: int, headers: Headers, body: bytes, *, own: Headers, now_ms: int
    ) -> Entry | Reason:
        """The entry of a whole answer, or the first reason against storing it.

        Args:
            status: Status to replay.
            headers: All of the answer; they decide whether and for how long.
            body: All of it.
            own: The fields among them to replay.
            now_ms: When the answer was made.
        """
        shared = not self.policy.per_user
        lifetime_ms = _http.freshness_lifetime_ms(
            headers, ttl_ms=self.ttl_ms, now_ms=now_ms, shared=shared
        )
        prior_ms = _http.prior_age(headers) * 1000
        refusal = _http.storage_refusal(
            status,
            headers,
            body_size=len(body),
            max_body_size=self.settings.max_body_size,
            max_header_size=self.settings.max_header_size,
            lifetime_ms=None if lifetime_ms is None else lifetime_ms - prior_ms,
            shared=shared,
        )
        if refusal is not None or not self._selects_by_all_of(headers):
            return refusal or Reason.VARY
        windows = self._windows(headers)
        kept = stored_headers(self.policy, own, body, lifetime_ms, windows)
        created_ms = now_ms - prior_ms
        return Entry(status, tuple(kept), body, created_ms, lifetime_ms or 0, *windows)

    def _windows(self, headers: Headers) -> Windows:
        """How long past its lifetime the answer may be sent; its own words are the last ones."""
        said = _http.response_directives(headers)
        if _http.stale_forbidden(said, shared=not self.policy.per_user):
            return Windows(0, 0)
        staleness = self.policy.staleness
        return Windows(
            _or_seconds(said.stale_while_revalidate, staleness.revalidate_ms),
            _or_seconds(said.stale_if_error, staleness.error_ms),
        )

    def _selects_by_all_of(self, headers: Headers) -> bool:
        """Whether the key holds every header that the answer says it varies by."""
        names = _http.vary_names(headers)
        keyed = {name.encode() for name in self.policy.vary}
        return names is not _http.STAR and keyed.issuperset(names)


def _or_seconds(stated: int | None, otherwise_ms: int) -> int:
    return otherwise_ms if stated is None else stated * 1_000


def whole_body(response: Response) -> bytes | None:
    """The body where the response has all of it, and sends that and nothing else."""
    body = getattr(response, "body", None)
    # a subclass with a ``__call__`` of its own may send more
    sends_its_body = type(response).__call__.__module__.split(".")[0] == "starlette"
    return body if isinstance(body, bytes) and sends_its_body else None
