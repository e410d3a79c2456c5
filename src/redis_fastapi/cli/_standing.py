"""The state of an entry, determined from its stored bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from .._redis.entry import Entry, decode, decode_outdated, head_size
from .._redis.keys import EPOCH, Target, group_name
from .._redis.store import Snapshot
from .._redis.tokens import TOKEN_SIZE, softly_evicted, validity_of


class Standing(str, Enum):
    """The state of an entry."""

    MISSING = "missing"
    VALID = "valid"
    STALE = "stale"
    """Past its lifetime, and served while it is recomputed."""
    OUTDATED = "outdated"
    """Softly evicted."""
    EVICTED = "evicted"
    OTHER_VERSION = "of another version"
    EXPIRED = "expired"
    DAMAGED = "damaged"
    UNKNOWN = "unknown"
    """Redis did not reply."""


@dataclass(frozen=True, slots=True)
class EntryReport:
    """An entry as it is stored.

    Attributes:
        standing: Whether it would be served.
        evicted_by: The generations whose eviction ended it, in words.
        status: Status code.
        age_seconds: Since it was made.
        ttl_seconds: Until its lifetime ends, negative after that; None is no end.
        size_bytes: Of the body.
    """

    standing: Standing
    evicted_by: tuple[str, ...] = ()
    status: int | None = None
    age_seconds: float | None = None
    ttl_seconds: float | None = None
    size_bytes: int | None = None


def entry_report(
    target: Target, snapshot: Snapshot, groups: Iterable[str], *, now_ms: int
) -> EntryReport:
    """The state of what was read for a target; ``groups`` are the names of its groups."""
    if snapshot.raw is None:
        return EntryReport(Standing.MISSING)
    stored = snapshot.raw[head_size(0) : head_size(_validity_size(target))]
    whole = decode(snapshot.raw, stored)
    entry = whole or decode_outdated(snapshot.raw, stored)
    if entry is None:
        return EntryReport(Standing.DAMAGED)
    if not stored.startswith(target.shape):
        return _described(Standing.OTHER_VERSION, entry, (), now_ms)
    current = validity_of(target, snapshot.tokens)
    if whole is not None and stored == current:
        return _described(_life(entry, now_ms), entry, (), now_ms)
    changed = tuple(_changed(target, stored, snapshot, groups))
    kept = current is not None and softly_evicted(stored, current)
    standing = Standing.OUTDATED if kept else Standing.EVICTED
    return _described(standing, entry, changed, now_ms)


def _validity_size(target: Target) -> int:
    return len(target.shape) + TOKEN_SIZE * len(target.generations)


def _life(entry: Entry, now_ms: int) -> Standing:
    staleness_ms = now_ms - entry.created_ms - entry.fresh_ms
    if not entry.fresh_ms or staleness_ms < 0:
        return Standing.VALID
    return Standing.STALE if staleness_ms < entry.revalidate_ms else Standing.EXPIRED


def _changed(
    target: Target, stored: bytes, snapshot: Snapshot, groups: Iterable[str]
) -> Iterator[str]:
    words = {EPOCH: "the whole cache"} | {group_name(name): f"group {name!r}" for name in groups}
    start = len(target.shape)
    for name, token in zip(target.generations, snapshot.tokens, strict=True):
        if stored[start : start + TOKEN_SIZE] != token:
            yield words.get(name, "its path")
        start += TOKEN_SIZE


def _described(
    standing: Standing, entry: Entry, evicted_by: tuple[str, ...], now_ms: int
) -> EntryReport:
    age_ms = max(0, now_ms - entry.created_ms)
    left_ms = entry.fresh_ms - age_ms if entry.fresh_ms else None
    return EntryReport(
        standing=standing,
        evicted_by=evicted_by,
        status=entry.status,
        age_seconds=age_ms / 1000,
        ttl_seconds=None if left_ms is None else left_ms / 1000,
        size_bytes=len(entry.body),
    )
