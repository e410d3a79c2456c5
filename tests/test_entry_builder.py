"""Memoized response heads change no entry."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_fastapi import RedisSettings
from redis_fastapi._http import Headers, Reason
from redis_fastapi._policy.policy import ReadPolicy, Selectors, Staleness
from redis_fastapi._policy.resource import ResourceTemplate
from redis_fastapi._redis.entry import Entry
from redis_fastapi._serving import head_cache
from redis_fastapi._serving.entry_builder import EntryBuilder
from redis_fastapi._serving.head_cache import HeadCache

SETTINGS = RedisSettings(max_body_size=8, max_header_size=120, surrogate_header="Surrogate-Key")
POLICY = ReadPolicy(
    label="GET /",
    template=ResourceTemplate.parse("/"),
    parameters=(),
    key=None,
    key_builder=None,
    prefix="",
    selectors=Selectors(),
    groups=(),
    ttl=300,
    private=False,
    per_user=False,
    vary=("accept",),
    when=None,
    uncacheable=None,
    status=200,
    model=str,
    origin="",
    staleness=Staleness(revalidate_ms=5_000),
    statuses={404: 7},
    cdn_ttl=60,
)
POLICIES = (POLICY, replace(POLICY, private=True, per_user=True, cdn_ttl=None))

HEADER = st.sampled_from(
    [
        (b"content-length", b"3"),
        (b"content-type", b"text/plain"),
        (b"cache-control", b"max-age=20"),
        (b"cache-control", b"no-store"),
        (b"cache-control", b"private, stale-while-revalidate=9"),
        (b"vary", b"accept"),
        (b"vary", b"cookie"),
        (b"age", b"7"),
        (b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (b"expires", b"Thu, 01 Jan 1970 00:00:40 GMT"),
        (b"last-modified", b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (b"etag", b'"1"'),
        (b"set-cookie", b"a=1"),
        (b"x-long", b"x" * 100),
        (b"X-Mixed", b"1"),
    ]
)
ANSWER = st.tuples(
    st.sampled_from(POLICIES),
    st.sampled_from([200, 404]),
    st.lists(HEADER, max_size=4),
    st.binary(max_size=9),
    st.sampled_from([1_000, 30_000, 3_600_000]),
    st.sampled_from([(), ("products",)]),
    st.booleans(),
    st.sampled_from([None, 300_000]),
)
Answer = tuple[ReadPolicy, int, Headers, bytes, int, tuple[str, ...], bool, int | None]


def stored(answer: Answer, heads: HeadCache) -> Entry | Reason:
    policy, status, headers, body, now_ms, groups, varies, ttl_ms = answer
    builder = EntryBuilder(policy, SETTINGS, heads, ttl_ms, groups, varies=varies)
    return builder.build(status, headers, body, own=headers[1:], now_ms=now_ms)


@given(st.lists(ANSWER, max_size=6))
def test_a_memoized_head_changes_no_entry(answers: list[Answer]) -> None:
    heads = HeadCache()
    for answer in answers * 2:
        assert stored(answer, heads) == stored(answer, HeadCache())


def expiring(now_ms: int) -> Answer:
    headers = [(b"content-type", b"text/plain"), (b"expires", b"Thu, 01 Jan 1970 00:01:40 GMT")]
    return POLICY, 200, headers, b"body", now_ms, (), True, None


def lifetimes_of_one_head() -> list[int]:
    heads = HeadCache()
    entries = [stored(expiring(now_ms), heads) for now_ms in (0, 40_000)]
    return [entry.fresh_ms for entry in entries if isinstance(entry, Entry)]


def test_a_head_with_a_date_is_evaluated_each_time() -> None:
    assert lifetimes_of_one_head() == [100_000, 60_000]


def test_control_memoized_its_lifetime_would_be_that_of_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head_cache, "_TRANSIENT", frozenset())
    assert lifetimes_of_one_head() == [100_000, 100_000]


def test_a_content_length_other_than_the_bodys_is_refused_each_time() -> None:
    heads = HeadCache()
    answer = (POLICY, 200, [(b"x-first", b""), (b"content-length", b"3")])
    assert isinstance(stored((*answer, b"tea", 0, (), True, None), heads), Entry)
    assert stored((*answer, b"coffee", 0, (), True, None), heads) is Reason.UNFINISHED


def test_a_lifetime_with_jitter_is_not_memoized() -> None:
    heads = HeadCache()
    drawn = replace(POLICY, staleness=Staleness(jitter=0.5))
    stored((drawn, 200, [], b"", 0, (), True, 200_000), heads)
    assert not heads._known


def test_the_number_of_memoized_heads_is_bounded() -> None:
    heads = HeadCache()
    for number in range(1_000):
        stored((POLICY, 200, [], b"", 0, (), True, 1_000 + number), heads)
    assert len(heads._known) <= 256
