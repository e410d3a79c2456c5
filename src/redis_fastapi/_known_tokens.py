"""Tokens of generations as this process saw them last.

They may be outdated at any time. A lease is claimed under them all the same: the reply to the claim
says which are current, and where these are others it is claimed once more.
"""

from __future__ import annotations

from ._changes import Changes
from ._keys import Target

_MOST = 4_096
"""Generations to remember; clients choose how many there are, where values name them."""

Tokens = tuple[bytes | None, ...]


class KnownTokens:
    """Tokens by the name of their generation.

    Args:
        changes: Says which of them are others now, as far as this process hears of it.
    """

    def __init__(self, changes: Changes) -> None:
        self._tokens: dict[str, bytes] = {}
        changes.on_change(self._forget)

    def of(self, target: Target) -> Tokens:
        """The token of each of a target's generations; None for one that is unknown."""
        return tuple(map(self._tokens.get, target.generations))

    def learn(self, target: Target, tokens: Tokens) -> None:
        """Remember what was read of a target's generations."""
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
