"""Memoizes what is derived from response heads, since an endpoint often repeats the same one.

Heads are compared without Content-Length. Those with a field that depends on time or on the body
are not memoized.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from .._http import Headers
from .._policy.policy import ReadPolicy
from .responses import Windows

_MOST = 256
"""Capacity in heads; an endpoint may send a different one each time."""

_LENGTH = b"content-length"
_TRANSIENT = frozenset({b"age", b"date", b"etag", b"expires", b"last-modified"})
"""Fields that are specific to a single response."""


class Head(NamedTuple):
    """What is derived from the head of a response that may be stored.

    Attributes:
        kept: The endpoint's fields that are stored unchanged, without Content-Length.
        tagged: Whether they include an entity tag.
        announced: Fields that state lifetime, variants and groups.
        prior_ms: The response's own Age, in milliseconds.
        lifetime_ms: Freshness lifetime in milliseconds; None means no expiry.
        windows: How long the response may be sent stale.
    """

    kept: Headers
    tagged: bool
    announced: Headers
    prior_ms: int
    lifetime_ms: int | None
    windows: Windows


class HeadCache:
    """The heads of one application's responses, by policy and all else they are derived from."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[ReadPolicy, Head]] = {}

    def get(self, policy: ReadPolicy, key: Hashable) -> Head | None:
        """The memoized head, or None."""
        known = self._known.get((id(policy), key))
        return None if known is None else known[1]

    def remember(self, policy: ReadPolicy, key: Hashable, head: Head) -> None:
        """Memoize a head, with its policy so that the policy's id stays unique."""
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[id(policy), key] = policy, head


def repeatable(headers: Headers) -> Headers | None:
    """The fields of a head except Content-Length; None if some are specific to this response."""
    kept = []
    for pair in headers:
        name = pair[0]
        if name in _TRANSIENT:
            return None
        if name != _LENGTH:
            kept.append(pair)
    return tuple(kept)
