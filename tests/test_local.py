"""The local tier by itself: what it keeps, how long, and how much memory it takes."""

from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from race.local import entry_like, target_like
from redis_fastapi._engine.local import LocalTier
from redis_fastapi._redis.changes import Changes
from redis_fastapi._redis.entry import Entry
from redis_fastapi._redis.keys import EPOCH, Target, group_name, tracked, tracked_name

NOW_MS = 1_000_000
ENTRY = Entry(200, ((b"content-type", b"text/plain"),), b"x" * 100, NOW_MS, 60_000)


def target(name: str, *groups: str, shape: bytes = b"shape--1") -> Target:
    return Target(name, (EPOCH, *map(group_name, groups)), shape)


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


class Scene(NamedTuple):
    tier: LocalTier
    changes: Changes
    clock: Clock

    def keep(self, wanted: Target, entry: Entry = ENTRY) -> None:
        self.tier.keep(wanted, entry, self.tier.begin(wanted), now_ms=NOW_MS)


def scene(max_bytes: int = 100_000) -> Scene:
    changes, clock = Changes(), Clock()
    changes.begin()
    return Scene(LocalTier(changes, max_bytes=max_bytes, clock=clock), changes, clock)


def test_a_kept_entry_is_found() -> None:
    at = scene()
    at.keep(target("a", "g"))
    found = at.tier.get(target("a", "g"))
    assert found is not None
    assert found.entry is ENTRY


def test_another_route_or_other_groups_do_not_find_it() -> None:
    at = scene()
    at.keep(target("a", "g"))
    assert at.tier.get(target("a", "g", shape=b"shape--2")) is None
    assert at.tier.get(target("a", "h")) is None


@pytest.mark.parametrize("changed", ["a", group_name("g"), EPOCH])
def test_a_change_of_the_entry_or_of_a_generation_drops_it(changed: str) -> None:
    at = scene()
    at.keep(target("a", "g"))
    at.keep(target("b"))
    at.changes.changed(changed)
    assert at.tier.get(target("a", "g")) is None
    assert (at.tier.get(target("b")) is None) == (changed == EPOCH)


@pytest.mark.parametrize("changed", ["a", group_name("g"), EPOCH, None])
def test_an_entry_that_changed_while_it_was_read_is_not_kept(changed: str | None) -> None:
    at = scene()
    wanted = target("a", "g")
    marks = at.tier.begin(wanted)
    at.changes.all_changed() if changed is None else at.changes.changed(changed)
    at.tier.keep(wanted, ENTRY, marks, now_ms=NOW_MS)
    assert at.tier.get(wanted) is None


def test_control_with_marks_taken_after_the_read_a_change_is_missed() -> None:
    at = scene()
    wanted = target("a", "g")
    at.tier.begin(wanted)
    at.changes.changed("a")
    at.keep(wanted)
    assert at.tier.get(wanted) is not None


def test_nothing_is_kept_while_changes_are_not_tracked() -> None:
    at = scene()
    at.changes.end()
    at.keep(target("a"))
    assert len(at.tier) == 0


@pytest.mark.parametrize("again", [True, False])
def test_the_end_of_tracking_empties_the_tier(again: bool) -> None:
    at = scene()
    at.keep(target("a"))
    marks = at.tier.begin(target("b"))
    at.changes.end()
    if again:
        at.changes.begin()
    at.tier.keep(target("b"), ENTRY, marks, now_ms=NOW_MS)
    assert (len(at.tier), at.tier.cost) == (0, 0)


@pytest.mark.parametrize(
    ("fresh_ms", "age_ms", "seconds"),
    [(60_000, 0, 30.0), (0, 0, 30.0), (10_000, 0, 10.0), (10_000, 6_000, 4.0), (10_000, 10_000, 0)],
    ids=["longer than the limit", "no expiry", "shorter", "older", "over"],
)
def test_an_entry_is_kept_while_it_is_fresh_and_no_longer_than_the_limit(
    fresh_ms: int, age_ms: int, seconds: float
) -> None:
    at = scene()
    at.keep(target("a"), ENTRY._replace(fresh_ms=fresh_ms, created_ms=NOW_MS - age_ms))
    at.clock.now += seconds - 0.001
    assert (at.tier.get(target("a")) is not None) == (seconds > 0)
    at.clock.now += 0.002
    assert at.tier.get(target("a")) is None
    assert at.tier.cost == 0


def test_the_least_recently_used_entry_goes_first() -> None:
    at = scene()
    at.keep(target("a"))
    room = scene(max_bytes=at.tier.cost * 2)
    room.keep(target("a"))
    room.keep(target("b"))
    room.tier.get(target("a"))
    room.keep(target("c"))
    found = [name for name in "abc" if room.tier.get(target(name))]
    assert found == ["a", "c"]


def test_an_entry_that_replaces_another_is_counted_once() -> None:
    at = scene()
    at.keep(target("a"))
    cost = at.tier.cost
    at.keep(target("a"))
    assert at.tier.cost == cost


def test_an_entry_larger_than_the_tier_leaves_it_as_it_is() -> None:
    at = scene(max_bytes=10_000)
    at.keep(target("a"))
    at.keep(target("b"), ENTRY._replace(body=b"x" * 10_000))
    assert at.tier.get(target("a")) is not None
    assert at.tier.get(target("b")) is None


@pytest.mark.parametrize("body", [0, 500, 5_000])
def test_a_kept_entry_takes_no_more_memory_than_it_counts_for(body: int) -> None:
    bound = 2_000_000
    at = scene(max_bytes=bound)
    tracemalloc.start()
    try:
        for number in range(3_000):
            at.keep(target_like(number), entry_like(number, body, NOW_MS))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(at.tier) < 3_000
    assert at.tier.cost / 2 < taken <= bound


async def test_a_waiter_for_a_change_is_woken_once() -> None:
    changes = Changes()
    changes.begin()
    first, second, third = (changes.next_change(names) for names in (("a", "b"), ("b",), ("c",)))
    changes.changed("b")
    await asyncio.sleep(0)
    assert (first.done(), second.done(), third.done()) == (True, True, False)
    changes.end()
    assert third.done()


async def test_cancelled_lookups_leave_nothing_behind() -> None:
    changes = Changes()
    changes.begin()
    for _ in range(3):
        changes.next_change(("a", "b")).cancel()
    await asyncio.sleep(0)
    assert not changes._awaited


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (b"app:e:{0123}", "0123"),
        (b"app:g:", "g:"),
        (b"app:g:n:app:e:{x}", "g:n:app:e:{x}"),
        (b"app:p:0123", "p:0123"),
        (b"app:l:{0123}", None),
        (b"other:app:e:{0123}", None),
        (b"app:e\xff", None),
    ],
)
def test_a_key_that_changed_is_traced_back_to_its_name(key: bytes, name: str | None) -> None:
    assert tracked_name(key, "app") == name
    assert key.startswith(tracked("app")) == (name is not None)
