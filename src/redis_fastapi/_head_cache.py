"""What was found out of the heads of answers, since an endpoint says the same again and again.

A head is remembered without its length, and only where neither time nor the body has a part in what
it says.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

from ._answers import Windows
from ._http import Headers
from ._policy import ReadPolicy

_MOST = 256
"""HeadCache to remember; an endpoint may say another thing each time."""

_LENGTH = b"content-length"
_PASSING = frozenset({b"age", b"date", b"etag", b"expires", b"last-modified"})
"""Fields that say of one answer what they do not say of the next."""


class Head(NamedTuple):
    """What the head of an answer that may be stored says.

    Attributes:
        kept: The endpoint's fields that are stored as they are, without its length.
        tagged: Whether an entity tag is among them.
        announced: Fields that tell of lifetime, variants and groups.
        prior_ms: Its age when it was made.
        lifetime_ms: Of its freshness from its making on; None is no expiry.
        windows: How long past that it may be sent.
    """

    kept: Headers
    tagged: bool
    announced: Headers
    prior_ms: int
    lifetime_ms: int | None
    windows: Windows


class HeadCache:
    """The heads of one application's answers, by policy and by what else decides."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[ReadPolicy, Head]] = {}

    def get(self, policy: ReadPolicy, key: Hashable) -> Head | None:
        """The head that was remembered."""
        known = self._known.get((id(policy), key))
        return None if known is None else known[1]

    def remember(self, policy: ReadPolicy, key: Hashable, head: Head) -> None:
        """Remember a head; the policy lives as long as that, so its id is its own."""
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[id(policy), key] = policy, head


def repeatable(headers: Headers) -> Headers | None:
    """What a head says each time; None where it says something of this answer only."""
    if any(name in _PASSING for name, _ in headers):
        return None
    return tuple([pair for pair in headers if pair[0] != _LENGTH])
