"""Calls that wait to be written to a connection, and for their replies.

Lookups that wait for the same write are merged, and each key is read once. All other calls keep
their order. A cancelled call is not written or, if it already was, its reply is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from math import inf
from typing import Any

from ..exceptions import CacheUnavailableError

_MERGED_KEYS = 256
"""Keys at which an MGET is full, so that it does not keep other clients of the server waiting."""

_WORDS_KNOWN = 1_024
"""Names, options and numbers whose packed form is memoized."""

_SIZES_KNOWN = 256
_SIZES = [b"$%d" % size for size in range(_SIZES_KNOWN)]
"""How RESP announces that many bytes; keys and arguments are short."""

_LOOKUPS_KNOWN = 1_024
"""Lookups whose packed form is memoized."""

Arguments = tuple[str | bytes | int, ...]
"""A command: its name, then its arguments."""


def packed(command: Arguments) -> bytes:
    """A command in RESP, the protocol of Redis."""
    # redis-py's own packing costs as much as everything else before a lookup is sent
    lines = [b"*%d" % len(command)]
    for one in command:
        if isinstance(one, bytes):
            size = len(one)
            lines += (_SIZES[size] if size < _SIZES_KNOWN else b"$%d" % size, one)
        else:
            lines.append(_packed_word(one))
    lines.append(b"")
    return b"\r\n".join(lines)


@lru_cache(_WORDS_KNOWN)
def _packed_word(word: str | int) -> bytes:
    text = str(word).encode()
    return b"$%d\r\n%b" % (len(text), text)


@lru_cache(_LOOKUPS_KNOWN)
def _packed_mget(keys: tuple[bytes, ...]) -> bytes:
    return packed((b"MGET", *keys))


class _Pending:
    """The future that a caller awaits, and its deadline in the event loop's time."""

    __slots__ = ("future", "until")

    def __init__(self, future: asyncio.Future[list[Any]], until: float) -> None:
        self.future = future
        self.until = until

    @property
    def is_pending(self) -> bool:
        return not self.future.done()

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(_unavailable(error))


class Call(_Pending):
    """The commands of one caller, and the replies received so far."""

    __slots__ = ("_replies", "commands", "graces")

    def __init__(
        self, commands: Sequence[Arguments], future: asyncio.Future[list[Any]], until: float
    ) -> None:
        super().__init__(future, until)
        self.commands = commands
        self.graces = 0
        self._replies: list[Any] = []

    def packed(self) -> bytes:
        return b"".join([packed(command) for command in self.commands])

    def take(self, reply: Any) -> bool:
        """Take in the next reply; returns whether it was the last."""
        self._replies.append(reply)
        if len(self._replies) < len(self.commands):
            return False
        if not self.future.done():
            self.future.set_result(self._replies)
        return True


class Lookup(_Pending):
    """A lookup: the keys that one caller reads."""

    __slots__ = ("keys",)

    def __init__(
        self, keys: Sequence[bytes], future: asyncio.Future[list[Any]], until: float
    ) -> None:
        # set here without calling super(): one is made for each request
        self.future = future
        self.until = until
        self.keys = keys


class SingleLookup:
    """A lookup that is sent alone, to a server that holds all its keys."""

    __slots__ = ("_lookup", "graces")

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self.graces = 0

    @property
    def until(self) -> float:
        return self._lookup.until

    @property
    def is_pending(self) -> bool:
        return self._lookup.is_pending

    def packed(self) -> bytes:
        return _packed_mget(tuple(self._lookup.keys))

    def take(self, reply: Any) -> bool:
        """Take in the only reply: the values."""
        if isinstance(reply, Exception):
            self.fail(reply)
        elif not self._lookup.future.done():
            self._lookup.future.set_result(reply)
        return True

    def fail(self, error: Exception) -> None:
        self._lookup.fail(error)


class MergedLookups:
    """Lookups that are sent together; each key is read once."""

    __slots__ = ("_at", "_lookups", "_replies", "_spread", "graces")

    def __init__(self, *, spread: bool) -> None:
        self._lookups: list[Lookup] = []
        self._at: dict[bytes, int] = {}
        self._spread = spread
        self._replies: list[Any] = []
        self.graces = 0

    @property
    def full(self) -> bool:
        return len(self._at) >= _MERGED_KEYS

    @property
    def until(self) -> float:
        return min((lookup.until for lookup in self._lookups if lookup.is_pending), default=inf)

    @property
    def is_pending(self) -> bool:
        return any(lookup.is_pending for lookup in self._lookups)

    def add(self, lookup: Lookup) -> None:
        self._lookups.append(lookup)
        for key in lookup.keys:
            self._at.setdefault(key, len(self._at))

    def packed(self) -> bytes:
        if not self._spread:
            return packed((b"MGET", *self._at))
        return b"".join([packed((b"GET", key)) for key in self._at])

    def take(self, reply: Any) -> bool:
        """Take in the values or, if keys are spread, the next one; returns whether it is done."""
        values = reply
        if self._spread:
            self._replies.append(reply)
            if len(self._replies) < len(self._at):
                return False
            values = self._replies
        if isinstance(values, Exception):
            self.fail(values)
            return True
        for lookup in self._lookups:
            if not lookup.future.done():
                lookup.future.set_result([values[self._at[key]] for key in lookup.keys])
        return True

    def fail(self, error: Exception) -> None:
        for lookup in self._lookups:
            lookup.fail(error)


def _unavailable(error: Exception) -> CacheUnavailableError:
    unavailable = CacheUnavailableError(f"Redis: {error!r}")
    unavailable.__cause__ = error
    return unavailable


def batched(
    queue: Sequence[Call | Lookup], *, spread: bool
) -> list[Call | SingleLookup | MergedLookups]:
    """The calls to write at once, with lookups merged and cancelled calls left out.

    Args:
        queue: Calls in the order in which they were made.
        spread: Whether keys are spread over the slots of a cluster, so that MGET cannot read them.
    """
    calls: list[Call | SingleLookup | MergedLookups] = []
    merged: MergedLookups | None = None
    for call in queue:
        if call.future.done():
            continue
        if isinstance(call, Call):
            calls.append(call)
        elif len(queue) == 1 and not spread:
            calls.append(SingleLookup(call))
        else:
            merged = merged or MergedLookups(spread=spread)
            merged.add(call)
            if merged.full:
                calls.append(merged)
                merged = None
    return calls if merged is None else [*calls, merged]
