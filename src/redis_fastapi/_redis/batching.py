"""Calls that wait to be written to a connection, and for their replies.

Lookups that wait for the same write are merged, and each key is read once. All other calls keep
their order. A cancelled call is not written or, if it already was, its reply is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from functools import lru_cache
from math import inf
from typing import Any

from ..exceptions import CacheUnavailableError

_MERGED_KEYS = 256
"""Keys at which an MGET is full, so that it does not keep other clients of the server waiting."""

_WORDS_KNOWN = 1_024
"""Names, options and numbers whose packed form is memoized."""

_LOOKUPS_KNOWN = 1_024
"""Lookups whose packed form is memoized."""

Arguments = tuple[str | bytes | int, ...]
"""A command: its name, then its arguments."""


def packed(command: Arguments) -> bytes:
    """A command in RESP, the protocol of Redis."""
    # redis-py's own packing costs as much as everything else before a lookup is sent
    parts = [_bulk(one) if isinstance(one, bytes) else _word(one) for one in command]
    return b"*%d\r\n%b" % (len(parts), b"".join(parts))


def _bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


@lru_cache(_WORDS_KNOWN)
def _word(value: str | int) -> bytes:
    return _bulk(str(value).encode())


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

    __slots__ = ("commands", "graces", "replies")

    def __init__(
        self, commands: Sequence[Arguments], future: asyncio.Future[list[Any]], until: float
    ) -> None:
        super().__init__(future, until)
        self.commands = commands
        self.graces = 0
        self.replies: list[Any] = []

    @property
    def is_complete(self) -> bool:
        return len(self.replies) == len(self.commands)

    def packed(self) -> bytes:
        return b"".join([packed(command) for command in self.commands])

    def resolve(self) -> None:
        if not self.future.done():
            self.future.set_result(self.replies)


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

    __slots__ = ("_lookup", "graces", "replies")

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self.graces = 0
        self.replies: list[Any] = []

    @property
    def until(self) -> float:
        return self._lookup.until

    @property
    def is_pending(self) -> bool:
        return self._lookup.is_pending

    @property
    def is_complete(self) -> bool:
        return bool(self.replies)

    def packed(self) -> bytes:
        return _packed_mget(tuple(self._lookup.keys))

    def resolve(self) -> None:
        (values,) = self.replies
        if isinstance(values, Exception):
            self.fail(values)
        elif self._lookup.is_pending:
            self._lookup.future.set_result(values)

    def fail(self, error: Exception) -> None:
        self._lookup.fail(error)


class MergedLookups:
    """Lookups that are sent together; each key is read once."""

    __slots__ = ("_at", "_lookups", "_spread", "graces", "replies")

    def __init__(self, *, spread: bool) -> None:
        self._lookups: list[Lookup] = []
        self._at: dict[bytes, int] = {}
        self._spread = spread
        self.graces = 0
        self.replies: list[Any] = []

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

    @property
    def is_complete(self) -> bool:
        return len(self.replies) == (len(self._at) if self._spread else 1)

    def packed(self) -> bytes:
        if not self._spread:
            return packed((b"MGET", *self._at))
        return b"".join([packed((b"GET", key)) for key in self._at])

    def resolve(self) -> None:
        values = self.replies
        if not self._spread:
            (values,) = values
            if isinstance(values, Exception):
                self.fail(values)
                return
        for lookup in self._lookups:
            if not lookup.future.done():
                lookup.future.set_result([values[self._at[key]] for key in lookup.keys])

    def fail(self, error: Exception) -> None:
        for lookup in self._lookups:
            lookup.fail(error)


def _unavailable(error: Exception) -> CacheUnavailableError:
    unavailable = CacheUnavailableError(f"Redis: {error!r}")
    unavailable.__cause__ = error
    return unavailable


def batched(
    queue: Sequence[Call | Lookup], *, spread: bool
) -> Iterator[Call | SingleLookup | MergedLookups]:
    """The calls to write at once, with lookups merged and cancelled calls left out.

    Args:
        queue: Calls in the order in which they were made.
        spread: Whether keys are spread over the slots of a cluster, so that MGET cannot read them.
    """
    merged: MergedLookups | None = None
    for call in queue:
        if not call.is_pending:
            continue
        if isinstance(call, Call):
            yield call
            continue
        if len(queue) == 1 and not spread:
            yield SingleLookup(call)
            return
        if merged is None:
            merged = MergedLookups(spread=spread)
        merged.add(call)
        if merged.full:
            yield merged
            merged = None
    if merged is not None:
        yield merged
