"""Builds the entry of a response, or tells why it is not stored; for both reads and writes."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.responses import Response

from .. import _http
from .._http import Headers, Reason
from .._policy.policy import ReadPolicy
from .._redis.entry import Entry
from ..settings import RedisSettings
from .head_cache import Head, HeadCache, repeatable
from .responses import Windows, announced_headers, kept_headers


@dataclass(frozen=True, slots=True)
class EntryBuilder:
    """How responses to one cached GET become entries.

    Attributes:
        policy: The policy of the GET that will read the entry.
        settings: Size limits, and the header field that names groups.
        heads: Memoized results for repeated response heads.
        ttl_ms: Lifetime in milliseconds unless the response states a shorter one; None means no
            expiry.
        groups: Names of the entry's groups, for the header field sent to a CDN.
        varies: Whether the response's own Vary may select among variants, as it may for a GET.
    """

    policy: ReadPolicy
    settings: RedisSettings
    heads: HeadCache
    ttl_ms: int | None
    groups: tuple[str, ...] = ()
    varies: bool = False

    def build(
        self,
        status: int,
        headers: Headers,
        body: bytes,
        *,
        own: Headers,
        now_ms: int,
        cost_ms: int = 0,
    ) -> Entry | Reason:
        """The entry for a complete response, or the first reason not to store it.

        Args:
            status: Status code to replay.
            headers: All fields of the response; they determine whether and how long it is stored.
            body: The complete body.
            own: The fields to replay.
            now_ms: When the response was generated, in milliseconds since 1970.
            cost_ms: How long computing it took, in milliseconds.
        """
        head = self._known_head(status, headers, own, len(body), now_ms)
        if isinstance(head, Reason):
            return head
        length = (b"content-length", b"%d" % len(body))
        tag = () if head.tagged else ((b"etag", _http.etag_for(body)),)
        fields = (length, *head.kept, *tag, *head.announced)
        made_ms, lifetime_ms = now_ms - head.prior_ms, head.lifetime_ms or 0
        return Entry(status, fields, body, made_ms, lifetime_ms, *head.windows, cost_ms)

    def _known_head(
        self, status: int, headers: Headers, own: Headers, size: int, now_ms: int
    ) -> Head | Reason:
        repeated = repeatable(headers)
        kept = repeated if own == headers else repeatable(own)
        # with jitter, every lifetime is different
        if repeated is None or kept is None or self.policy.staleness.jitter:
            return self._head(status, headers, own, size, now_ms)
        key = (status, repeated, kept, self.ttl_ms, self.groups, self.varies)
        head = self.heads.get(self.policy, key)
        if head is not None:
            return _http.body_refusal(headers, size, self.settings.max_body_size) or head
        found = self._head(status, headers, own, size, now_ms)
        if isinstance(found, Head):
            self.heads.remember(self.policy, key, found)
        return found

    def _head(
        self, status: int, headers: Headers, own: Headers, size: int, now_ms: int
    ) -> Head | Reason:
        lifetime_ms, prior_ms = self.lifetime_ms(status, headers, now_ms), _prior_ms(headers)
        refusal = self._refusal(status, headers, size, _left_ms(lifetime_ms, prior_ms))
        if refusal is not None:
            return refusal
        kept, windows = kept_headers(own), self.windows(status, headers)
        tagged = any(name == b"etag" for name, _ in kept)
        announced = self.announced(status, own, lifetime_ms, windows)
        return Head(kept, tagged, announced, prior_ms, lifetime_ms, windows)

    def refusal(self, status: int, headers: Headers, *, size: int, now_ms: int) -> Reason | None:
        """The first reason not to store a response, as far as known before its body is complete.

        Args:
            status: Status code to replay.
            headers: All fields of the response.
            size: Bytes of its body; the announced length if it is not yet complete.
            now_ms: When the response was generated, in milliseconds since 1970.
        """
        lifetime_ms = self.lifetime_ms(status, headers, now_ms)
        return self._refusal(status, headers, size, _left_ms(lifetime_ms, _prior_ms(headers)))

    def _refusal(
        self, status: int, headers: Headers, size: int, left_ms: int | None
    ) -> Reason | None:
        refusal = _http.storage_refusal(
            status,
            headers,
            body_size=size,
            max_body_size=self.settings.max_body_size,
            max_header_size=self.settings.max_header_size,
            lifetime_ms=left_ms,
            allowed_statuses=_http.DEFAULT_STATUSES.union(self.policy.statuses),
            shared=not self.policy.per_user,
        )
        if refusal is None and not self._selects(headers):
            return Reason.VARY
        return refusal

    def announced(
        self, status: int, own: Headers, lifetime_ms: int | None, windows: Windows
    ) -> list[tuple[bytes, bytes]]:
        """The fields that state a response's lifetime, variants and groups."""
        usual = status not in self.policy.statuses
        announced = announced_headers(self.policy, own, lifetime_ms, windows, usual=usual)
        named = self.settings.surrogate_header
        if named and self.groups and not self.policy.private:
            announced.append(_http.surrogate_field(named, self.groups))
        return announced

    def lifetime_ms(self, status: int, headers: Headers, now_ms: int) -> int | None:
        """How long a response stays fresh, in milliseconds; None means no expiry."""
        ttl = self.policy.statuses.get(status)
        ttl_ms = self.ttl_ms if ttl is None else ttl * 1000
        shared = not self.policy.per_user
        return _http.freshness_lifetime_ms(headers, ttl_ms=ttl_ms, now_ms=now_ms, shared=shared)

    def windows(self, status: int, headers: Headers) -> Windows:
        """How long a response may be sent stale; its own directives take precedence.

        A status code with its own lifetime is never sent stale.
        """
        directives = _http.response_directives(headers)
        forbidden = _http.stale_forbidden(directives, shared=not self.policy.per_user)
        if forbidden or status in self.policy.statuses:
            return Windows()
        staleness = self.policy.staleness
        return Windows(
            _or_seconds(directives.stale_while_revalidate, staleness.revalidate_ms),
            _or_seconds(directives.stale_if_error, staleness.error_ms),
        )

    def _selects(self, headers: Headers) -> bool:
        """Whether the response's Vary names only fields by which a lookup can select it."""
        names = _http.vary_names(headers)
        keyed = {name.encode() for name in self.policy.vary}
        return names is not _http.STAR and (self.varies or keyed.issuperset(names))


def _or_seconds(stated: int | None, otherwise_ms: int) -> int:
    return otherwise_ms if stated is None else stated * 1_000


def _prior_ms(headers: Headers) -> int:
    return _http.prior_age(headers) * 1000


def _left_ms(lifetime_ms: int | None, prior_ms: int) -> int | None:
    return None if lifetime_ms is None else lifetime_ms - prior_ms


def whole_body(response: Response) -> bytes | None:
    """The body, if the response consists of exactly this body; None otherwise."""
    body = getattr(response, "body", None)
    # a subclass with its own ``__call__`` may send more
    sends_its_body = type(response).__call__.__module__.split(".")[0] == "starlette"
    return body if isinstance(body, bytes) and sends_its_body else None
