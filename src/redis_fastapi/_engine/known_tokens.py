"""Generation tokens as this process last saw them.

They may be outdated at any time. Leases are claimed under them nevertheless: the reply to a claim
contains the current ones, and if these differ the lease is claimed once more.
"""

from __future__ import annotations

from .._redis.changes import Changes
from .._redis.keys import Target

_MOST = 4_096
"""Generations to remember; clients determine how many there are if values name groups."""

Tokens = tuple[bytes | None, ...]


class KnownTokens:
    """Tokens by the name of their generation.

    Args:
        changes: Reports which of them have changed, if changes are tracked.
    """

    def __init__(self, changes: Changes) -> None:
        self._tokens: dict[str, bytes] = {}
        changes.on_change(self._forget)

    def of(self, target: Target) -> Tokens:
        """The token of each of a target's generations; None if it is unknown."""
        return tuple(map(self._tokens.get, target.generations))

    def learn(self, target: Target, tokens: Tokens) -> None:
        """Remember the tokens read for a target's generations."""
        if len(self._tokens) >= _MOST:
            self._tokens.clear()
        for name, token in zip(target.generations, tokens, strict=True):
            if token is not None:
                self._tokens[name] = token

    def forget(self, target: Target) -> None:
        """Forget a target's generations."""
        for name in target.generations:
            self._tokens.pop(name, None)

    def _forget(self, name: str | None) -> None:
        if name is None:
            self._tokens.clear()
        else:
            self._tokens.pop(name, None)
