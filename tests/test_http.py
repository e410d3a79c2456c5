"""The HTTP rules, one table per rule; the ids name the section."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_fastapi import _http
from redis_fastapi._http import (
    IGNORED,
    STAR,
    Forward,
    Fresh,
    MustRevalidate,
    Outcome,
    Reason,
    RequestDirectives,
    Stale,
    Validators,
    age_seconds,
    assess_freshness,
    cache_control_to_send,
    cache_control_value,
    cache_status,
    cdn_cache_control_value,
    conditional_message,
    encoding_acceptable,
    etag_for,
    evaluate_preconditions,
    freshness_lifetime_ms,
    invalidation_targets,
    jittered_ttl_ms,
    merged_vary,
    prior_age,
    refresh_due_early,
    request_directives,
    response_directives,
    selecting_key,
    stale_forbidden,
    storable_headers,
    storage_refusal,
    usable_on_error,
    validators_of,
    vary_names,
)
from redis_fastapi._http.dates import http_date_ms
from redis_fastapi._http.directives import DELTA_SECONDS_MAX, ResponseDirectives
from redis_fastapi._http.fields import list_elements
from redis_fastapi._http.ranges import (
    MAX_RANGES,
    ByteRange,
    Message,
    Multiple,
    RangeChoice,
    Single,
    Unsatisfiable,
    Whole,
    select_ranges,
)
from redis_fastapi._http.representation import failure_headers, not_modified_headers
from redis_fastapi._http.storability import header_block_size
from redis_fastapi._http.validators import EntityTag, parse_etag
from redis_fastapi._http.vary import VaryNames
from support import header_fields as fields

NOW_MS = 1_800_000_000_000
MODIFIED_MS = 784_111_777_000
MODIFIED = b"Sun, 06 Nov 1994 08:49:37 GMT"
MODIFIED_RFC850 = b"Sunday, 06-Nov-94 08:49:37 GMT"
MODIFIED_ASCTIME = b"Sun Nov  6 08:49:37 1994"
EARLIER = b"Sun, 06 Nov 1994 08:49:36 GMT"
LATER = b"Sun, 06 Nov 1994 08:49:38 GMT"


def table(*rows: tuple[Any, ...]) -> list[Any]:
    """Rows whose first column is the id of the case."""
    return [pytest.param(*row[1:], id=row[0]) for row in rows]


# Request directives


@pytest.mark.parametrize(
    ("lines", "expected"),
    table(
        ("9111-5.2-none", [], IGNORED),
        ("9111-5.2.1.4-no-cache", ["cache-control: no-cache"], RequestDirectives(no_cache=True)),
        ("9111-5.2.1.5-no-store", ["cache-control: no-store"], RequestDirectives(no_store=True)),
        ("9111-5.2.1.1-max-age", ["cache-control: max-age=60"], RequestDirectives(max_age=60)),
        ("9111-5.2.1.3-min-fresh", ["cache-control: min-fresh=7"], RequestDirectives(min_fresh=7)),
        ("9111-5.2.1.2-max-stale", ["cache-control: max-stale=9"], RequestDirectives(max_stale=9)),
        (
            "9111-5.2.1.2-max-stale-of-any-length",
            ["cache-control: max-stale"],
            RequestDirectives(max_stale=DELTA_SECONDS_MAX),
        ),
        (
            "9111-5.2.1.7-only-if-cached",
            ["cache-control: only-if-cached"],
            RequestDirectives(only_if_cached=True),
        ),
        (
            "5861-4-stale-if-error",
            ["cache-control: stale-if-error=5"],
            RequestDirectives(stale_if_error=5),
        ),
        (
            "9111-5.2-case-insensitive",
            ["cache-control: No-CACHE, MAX-Age=3"],
            RequestDirectives(no_cache=True, max_age=3),
        ),
        (
            "9111-5.2-quoted-argument",
            ['cache-control: max-age="60"'],
            RequestDirectives(max_age=60),
        ),
        (
            "9110-5.6.4-quoted-pair",
            ['cache-control: max-age="\\6\\0"'],
            RequestDirectives(max_age=60),
        ),
        (
            "9110-5.6.4-directive-inside-a-quoted-string",
            ['cache-control: ext="a, no-store, b", max-age=1'],
            RequestDirectives(max_age=1),
        ),
        (
            "9110-5.6.4-unclosed-quote-hides-nothing",
            ['cache-control: ext="a, no-store'],
            RequestDirectives(no_store=True),
        ),
        (
            "9110-5.3-several-lines",
            ["cache-control: no-cache", "cache-control: max-age=4"],
            RequestDirectives(no_cache=True, max_age=4),
        ),
        (
            "9110-5.6.1-empty-elements",
            ["cache-control: , ,no-cache,,"],
            RequestDirectives(no_cache=True),
        ),
        (
            "9111-4.2.1-strictest-of-repeated",
            [
                "cache-control: max-age=9, max-age=3, min-fresh=1, min-fresh=2",
                "cache-control: max-stale, max-stale=5",
            ],
            RequestDirectives(max_age=3, min_fresh=2, max_stale=5),
        ),
        (
            "9111-1.2.2-overflow",
            [f"cache-control: max-age={'9' * 5000}"],
            RequestDirectives(max_age=DELTA_SECONDS_MAX),
        ),
        (
            "9111-5.2.3-junk",
            ["cache-control: max-age=soon, max-age=-1, min-fresh, max-age=1.5, =, \x00"],
            RequestDirectives(),
        ),
        ("9111-5.4-pragma", ["pragma: No-Cache"], RequestDirectives(no_cache=True)),
        (
            "9111-5.4-pragma-yields-to-cache-control",
            ["pragma: no-cache", "cache-control: max-age=5"],
            RequestDirectives(max_age=5),
        ),
        ("9111-5.4-other-pragma", ["pragma: x"], IGNORED),
    ),
)
def test_request_directives(lines: list[str], expected: RequestDirectives) -> None:
    assert request_directives(fields(*lines)) == expected


# Response directives


@pytest.mark.parametrize(
    ("value", "expected"),
    table(
        (
            "9111-5.2.2-flags",
            "no-store, public, must-revalidate, proxy-revalidate, must-understand, immutable",
            ResponseDirectives(
                no_store=True,
                public=True,
                must_revalidate=True,
                proxy_revalidate=True,
                must_understand=True,
                immutable=True,
            ),
        ),
        (
            "9111-5.2.2-lifetimes",
            "max-age=1, s-maxage=2, stale-while-revalidate=3, stale-if-error=4",
            ResponseDirectives(max_age=1, s_maxage=2, stale_while_revalidate=3, stale_if_error=4),
        ),
        ("9111-4.2.1-strictest-of-repeated", "max-age=8, max-age=2", ResponseDirectives(max_age=2)),
        ("9111-4.2.1-invalid-is-stale", "max-age=soon", ResponseDirectives(max_age=0)),
        ("9111-4.2.1-no-argument-is-stale", "max-age", ResponseDirectives(max_age=0)),
        ("9111-4.2.1-one-invalid-of-two", "max-age=9, max-age=x", ResponseDirectives(max_age=0)),
        ("9111-5.2.2.4-no-cache", "no-cache", ResponseDirectives(no_cache=True)),
        (
            "9111-5.2.2.4-no-cache-qualified",
            'no-cache="Set-Cookie, X-A"',
            ResponseDirectives(no_cache_fields=frozenset({b"set-cookie", b"x-a"})),
        ),
        (
            "9111-5.2.2.4-qualified-and-not",
            'no-cache="x-a", no-cache',
            ResponseDirectives(no_cache=True),
        ),
        ("9111-5.2.2.7-private", "PRIVATE", ResponseDirectives(private=True)),
        (
            "9111-5.2.2.7-private-qualified",
            'private="x-user"',
            ResponseDirectives(private_fields=frozenset({b"x-user"})),
        ),
        ("9111-5.2.2.7-empty-qualification", 'private=""', ResponseDirectives(private=True)),
        ("9111-5.2.2.7-junk-qualification", 'private="a b"', ResponseDirectives(private=True)),
        ("9111-5.2.3-unknown", "community=UCI, ext", ResponseDirectives()),
    ),
)
def test_response_directives(value: str, expected: ResponseDirectives) -> None:
    assert response_directives(fields(f"cache-control: {value}")) == expected


# Dates


@pytest.mark.parametrize(
    ("value", "expected"),
    table(
        ("9110-5.6.7-imf-fixdate", MODIFIED, MODIFIED_MS),
        ("9110-5.6.7-rfc850", MODIFIED_RFC850, MODIFIED_MS),
        ("9110-5.6.7-asctime", MODIFIED_ASCTIME, MODIFIED_MS),
        ("9110-5.6.7-asctime-two-digit-day", b"Wed Nov 16 08:49:37 1994", 784_975_777_000),
        ("9110-5.6.7-leap-second", b"Sat, 31 Dec 2016 23:59:60 GMT", 1_483_228_800_000),
        ("9110-5.6.7-before-the-epoch", b"Wed, 31 Dec 1969 23:59:59 GMT", -1000),
        ("9110-5.6.7-two-digits-up-to-50-years-on", b"Sunday, 06-Nov-77 08:49:37 GMT", 2077),
        ("9110-5.6.7-two-digits-past-beyond", b"Sunday, 06-Nov-78 08:49:37 GMT", 1978),
        ("9110-5.6.7-not-gmt", b"Sun, 06 Nov 1994 08:49:37 CET", None),
        ("9110-5.6.7-offset", b"Sun, 06 Nov 1994 08:49:37 +0000", None),
        ("9110-5.6.7-case-sensitive", b"sun, 06 nov 1994 08:49:37 gmt", None),
        ("9110-5.6.7-no-such-day", b"Sun, 31 Feb 1994 08:49:37 GMT", None),
        ("9110-5.6.7-no-such-hour", b"Sun, 06 Nov 1994 24:00:00 GMT", None),
        ("9110-5.6.7-no-such-second", b"Sun, 06 Nov 1994 08:49:61 GMT", None),
        ("9110-5.6.7-year-zero", b"Sun, 06 Nov 0000 08:49:37 GMT", None),
        ("9110-5.6.7-trailing", b"Sun, 06 Nov 1994 08:49:37 GMT\n", None),
        ("9110-5.6.7-epoch-number", b"784111777", None),
        ("9110-5.6.7-empty", b"", None),
    ),
)
def test_http_date(value: bytes, expected: int | None) -> None:
    found = http_date_ms(value, now_ms=NOW_MS)
    if expected is not None and 1900 < expected < 2100:
        assert found is not None
        assert datetime.fromtimestamp(found / 1000, timezone.utc).year == expected
    else:
        assert found == expected


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(9999, 12, 31)))
def test_every_imf_fixdate_is_read_back(moment: datetime) -> None:
    moment = moment.replace(microsecond=0, tzinfo=timezone.utc)
    written = format_datetime(moment, usegmt=True).encode()
    assert http_date_ms(written, now_ms=NOW_MS) == round(moment.timestamp() * 1000)


# Validators


@pytest.mark.parametrize(
    ("value", "expected"),
    table(
        ("9110-8.8.3-strong", b'"x"', EntityTag(b"x")),
        ("9110-8.8.3-weak", b'W/"x"', EntityTag(b"x", weak=True)),
        ("9110-8.8.3-empty", b'""', EntityTag(b"")),
        ("9110-8.8.3-comma-and-backslash", b'"a,\\b"', EntityTag(b"a,\\b")),
        ("9110-8.8.3-obs-text", b'"\xff"', EntityTag(b"\xff")),
        ("9110-8.8.3-weak-is-case-sensitive", b'w/"x"', None),
        ("9110-8.8.3-unquoted", b"x", None),
        ("9110-8.8.3-space", b'"a b"', None),
        ("9110-8.8.3-quote-inside", b'"a"b"', None),
        ("9110-8.8.3-star", b"*", None),
    ),
)
def test_entity_tag(value: bytes, expected: EntityTag | None) -> None:
    assert parse_etag(value) == expected


@pytest.mark.parametrize(
    ("one", "other", "strong", "weak"),
    table(
        ("9110-8.8.3.2-both-weak", b'W/"1"', b'W/"1"', False, True),
        ("9110-8.8.3.2-weak-and-other", b'W/"1"', b'W/"2"', False, False),
        ("9110-8.8.3.2-weak-and-strong", b'W/"1"', b'"1"', False, True),
        ("9110-8.8.3.2-both-strong", b'"1"', b'"1"', True, True),
    ),
)
def test_entity_tags_compare(one: bytes, other: bytes, strong: bool, weak: bool) -> None:
    first, second = parse_etag(one), parse_etag(other)
    assert first is not None
    assert second is not None
    assert first.strongly_equals(second) is strong
    assert first.weakly_equals(second) is weak


@given(st.binary(), st.binary())
def test_the_etag_is_strong_and_differs_by_body(one: bytes, other: bytes) -> None:
    parsed = parse_etag(etag_for(one))
    assert parsed is not None
    assert not parsed.weak
    assert (etag_for(one) == etag_for(other)) is (one == other)


@pytest.mark.parametrize(
    ("lines", "expected"),
    table(
        ("9110-8.8-none", [], Validators()),
        (
            "9110-8.8-both",
            ['etag: W/"a"', "last-modified: Sun, 06 Nov 1994 08:49:37 GMT"],
            Validators(etag=EntityTag(b"a", weak=True), last_modified_ms=MODIFIED_MS),
        ),
        ("9110-8.8-malformed", ["etag: a", "last-modified: yesterday"], Validators()),
        ("9110-5.3-repeated", ['etag: "a"', 'etag: "b"'], Validators()),
    ),
)
def test_validators_of_a_response(lines: list[str], expected: Validators) -> None:
    assert validators_of(fields(*lines), now_ms=NOW_MS) == expected


# Preconditions

TAGGED = Validators(etag=EntityTag(b"x"))
WEAK = Validators(etag=EntityTag(b"x", weak=True))
DATED = Validators(last_modified_ms=MODIFIED_MS)
BOTH = Validators(etag=EntityTag(b"x"), last_modified_ms=MODIFIED_MS)
PLAIN = Validators()
PROCEED, NOT_MODIFIED, FAILED = Outcome.PROCEED, Outcome.NOT_MODIFIED, Outcome.PRECONDITION_FAILED


def dated(name: str, value: bytes) -> str:
    return f"{name}: {value.decode()}"


@pytest.mark.parametrize(
    ("method", "lines", "current", "expected"),
    table(
        ("9110-13-none", "GET", [], BOTH, PROCEED),
        ("9110-13.1.2-match", "GET", ['if-none-match: "x"'], TAGGED, NOT_MODIFIED),
        ("9110-13.1.2-head", "HEAD", ['if-none-match: "x"'], TAGGED, NOT_MODIFIED),
        ("9110-13.1.2-other", "GET", ['if-none-match: "y"'], TAGGED, PROCEED),
        ("9110-13.1.2-list", "GET", ['if-none-match: "y", "x"'], TAGGED, NOT_MODIFIED),
        ("9110-13.1.2-weak-list", "GET", ['if-none-match: W/"y",W/"x"'], TAGGED, NOT_MODIFIED),
        ("9110-13.1.2-weak-current", "GET", ['if-none-match: "x"'], WEAK, NOT_MODIFIED),
        (
            "9110-5.3-list-over-lines",
            "GET",
            ['if-none-match: "y"', 'if-none-match: "x"'],
            TAGGED,
            NOT_MODIFIED,
        ),
        ("9110-5.6.1-empty-elements", "GET", ['if-none-match: ,, "x",'], TAGGED, NOT_MODIFIED),
        ("9110-13.1.2-comma-in-tag", "GET", ['if-none-match: "y,x"'], TAGGED, PROCEED),
        ("9110-13.1.2-star", "GET", ["if-none-match: *"], PLAIN, NOT_MODIFIED),
        ("9110-13.1.2-star-nothing-there", "GET", ["if-none-match: *"], None, PROCEED),
        ("9110-13.1.2-star-in-list", "GET", ['if-none-match: "y", *'], TAGGED, PROCEED),
        ("9110-13.1.2-unquoted", "GET", ["if-none-match: x"], TAGGED, PROCEED),
        (
            "9110-13.1.2-junk-beside-a-tag",
            "GET",
            ['if-none-match: a "x, "x"'],
            TAGGED,
            NOT_MODIFIED,
        ),
        ("9110-13.1.2-no-etag", "GET", ['if-none-match: "x"'], DATED, PROCEED),
        ("9110-13.1.2-write-star", "PUT", ["if-none-match: *"], PLAIN, FAILED),
        ("9110-13.1.2-write-star-new", "PUT", ["if-none-match: *"], None, PROCEED),
        ("9110-13.1.2-write-match", "PUT", ['if-none-match: "x"'], TAGGED, FAILED),
        ("9110-13.1.3-equal", "GET", [dated("if-modified-since", MODIFIED)], DATED, NOT_MODIFIED),
        ("9110-13.1.3-later", "GET", [dated("if-modified-since", LATER)], DATED, NOT_MODIFIED),
        ("9110-13.1.3-earlier", "GET", [dated("if-modified-since", EARLIER)], DATED, PROCEED),
        (
            "9110-13.1.3-rfc850",
            "GET",
            [dated("if-modified-since", MODIFIED_RFC850)],
            DATED,
            NOT_MODIFIED,
        ),
        (
            "9110-13.1.3-asctime",
            "HEAD",
            [dated("if-modified-since", MODIFIED_ASCTIME)],
            DATED,
            NOT_MODIFIED,
        ),
        ("9110-13.1.3-bad-date", "GET", ["if-modified-since: 784111777"], DATED, PROCEED),
        (
            "9110-13.1.3-two-dates",
            "GET",
            [dated("if-modified-since", LATER), dated("if-modified-since", LATER)],
            DATED,
            PROCEED,
        ),
        ("9110-13.1.3-not-a-read", "PUT", [dated("if-modified-since", LATER)], DATED, PROCEED),
        ("9110-13.1.3-no-date-known", "GET", [dated("if-modified-since", LATER)], TAGGED, PROCEED),
        (
            "9111-4.3.2-time-of-receipt-stands-in",
            "GET",
            [dated("if-modified-since", LATER)],
            Validators(received_ms=MODIFIED_MS + 999),
            NOT_MODIFIED,
        ),
        (
            "9111-4.3.2-received-within-that-second",
            "GET",
            [dated("if-modified-since", MODIFIED)],
            Validators(received_ms=MODIFIED_MS + 1),
            PROCEED,
        ),
        (
            "9110-13.2.2-none-match-wins-against-304",
            "GET",
            ['if-none-match: "y"', dated("if-modified-since", LATER)],
            BOTH,
            PROCEED,
        ),
        (
            "9110-13.2.2-none-match-wins-for-304",
            "GET",
            ['if-none-match: "x"', dated("if-modified-since", EARLIER)],
            BOTH,
            NOT_MODIFIED,
        ),
        (
            "9110-13.1.3-malformed-none-match-still-wins",
            "GET",
            ["if-none-match: ", dated("if-modified-since", LATER)],
            BOTH,
            PROCEED,
        ),
        ("9110-13.1.1-match", "PUT", ['if-match: "y", "x"'], TAGGED, PROCEED),
        ("9110-13.1.1-other", "PUT", ['if-match: "y"'], TAGGED, FAILED),
        ("9110-13.1.1-weak-listed", "PUT", ['if-match: W/"x"'], TAGGED, FAILED),
        ("9110-13.1.1-weak-current", "PUT", ['if-match: "x"'], WEAK, FAILED),
        ("9110-13.1.1-star", "DELETE", ["if-match: *"], PLAIN, PROCEED),
        ("9110-13.1.1-star-nothing-there", "DELETE", ["if-match: *"], None, FAILED),
        ("9110-13.1.1-malformed", "PUT", ["if-match: x"], TAGGED, FAILED),
        ("9110-13.1.1-no-etag", "PUT", ['if-match: "x"'], DATED, FAILED),
        ("9110-13.1.1-get", "GET", ['if-match: "y"'], TAGGED, FAILED),
        (
            "9110-13.2.2-match-before-none-match",
            "GET",
            ['if-match: "y"', 'if-none-match: "x"'],
            TAGGED,
            FAILED,
        ),
        (
            "9110-13.2.2-match-holds-then-none-match",
            "GET",
            ['if-match: "x"', 'if-none-match: "x"'],
            TAGGED,
            NOT_MODIFIED,
        ),
        ("9110-13.1.4-equal", "PUT", [dated("if-unmodified-since", MODIFIED)], DATED, PROCEED),
        ("9110-13.1.4-later", "PUT", [dated("if-unmodified-since", LATER)], DATED, PROCEED),
        ("9110-13.1.4-earlier", "PUT", [dated("if-unmodified-since", EARLIER)], DATED, FAILED),
        ("9110-13.1.4-bad-date", "PUT", ["if-unmodified-since: then"], DATED, PROCEED),
        ("9110-13.1.4-no-date", "PUT", [dated("if-unmodified-since", EARLIER)], TAGGED, PROCEED),
        ("9110-13.1.4-nothing", "PUT", [dated("if-unmodified-since", EARLIER)], None, PROCEED),
        (
            "9110-13.1.4-match-wins",
            "PUT",
            ['if-match: "x"', dated("if-unmodified-since", EARLIER)],
            BOTH,
            PROCEED,
        ),
        ("9110-13.2.1-options", "OPTIONS", ['if-match: "y"'], TAGGED, PROCEED),
    ),
)
def test_preconditions(
    method: str, lines: list[str], current: Validators | None, expected: Outcome
) -> None:
    assert evaluate_preconditions(method, fields(*lines), current, now_ms=NOW_MS) is expected


@pytest.mark.parametrize(
    ("status", "expected"),
    table(
        ("9110-13.2.1-200", 200, NOT_MODIFIED),
        ("9110-13.2.1-203", 203, NOT_MODIFIED),
        ("9110-13.2.1-redirect", 301, PROCEED),
        ("9110-13.2.1-not-found", 404, PROCEED),
    ),
)
def test_preconditions_count_for_a_success_only(status: int, expected: Outcome) -> None:
    found = evaluate_preconditions(
        "GET", fields('if-none-match: "x"'), TAGGED, now_ms=NOW_MS, status=status
    )
    assert found is expected


STORED = fields(
    "content-type: application/json",
    "content-length: 3",
    "content-language: de",
    "content-encoding: gzip",
    "content-location: /a",
    "content-security-policy: default-src 'none'",
    "cache-control: max-age=3",
    "date: Sun, 06 Nov 1994 08:49:37 GMT",
    'etag: "x"',
    "expires: Sun, 06 Nov 1994 08:49:37 GMT",
    "last-modified: Sun, 06 Nov 1994 08:49:37 GMT",
    "vary: accept",
    "age: 1",
    "x-redis-cache: HIT",
    "repr-digest: sha-256=:x:",
    "set-cookie: a=1",
    "set-cookie: b=2",
)


def names(headers: Iterable[tuple[bytes, bytes]]) -> list[str]:
    return [name.decode() for name, _ in headers]


def test_9110_15_4_5_a_304_carries_no_representation_fields() -> None:
    assert names(not_modified_headers(STORED)) == [
        "content-location",
        "content-security-policy",
        "cache-control",
        "date",
        "etag",
        "expires",
        "vary",
        "age",
        "x-redis-cache",
        "set-cookie",
        "set-cookie",
    ]


def test_9110_15_4_5_a_304_without_etag_keeps_last_modified() -> None:
    untagged = [line for line in STORED if line[0] != b"etag"]
    assert "last-modified" in names(not_modified_headers(untagged))


def test_a_failed_condition_has_no_representation_or_lifetime_fields() -> None:
    assert names(failure_headers(STORED)) == [
        "content-security-policy",
        "date",
        "vary",
        "x-redis-cache",
        "set-cookie",
        "set-cookie",
    ]


# Ranges

DATED_STRONGLY = Validators(last_modified_ms=MODIFIED_MS, received_ms=MODIFIED_MS + 1000)
DATED_WEAKLY = Validators(last_modified_ms=MODIFIED_MS, received_ms=MODIFIED_MS + 999)
HUGE = "9" * 6000


def ranges(value: str, *more: str) -> list[str]:
    return [f"range: {value}", *more]


@pytest.mark.parametrize(
    ("lines", "expected"),
    table(
        ("9110-14.2-none", [], Whole()),
        ("9110-14.1.2-first-last", ranges("bytes=0-4"), Single(ByteRange(0, 4))),
        ("9110-14.1.2-one-byte", ranges("bytes=9-9"), Single(ByteRange(9, 9))),
        ("9110-14.1.2-open", ranges("bytes=4-"), Single(ByteRange(4, 9))),
        ("9110-14.1.2-beyond-the-end", ranges("bytes=4-99"), Single(ByteRange(4, 9))),
        ("9110-14.1.2-suffix", ranges("bytes=-3"), Single(ByteRange(7, 9))),
        ("9110-14.1.2-suffix-longer", ranges("bytes=-99"), Single(ByteRange(0, 9))),
        ("9110-14.1.2-all", ranges("bytes=0-"), Single(ByteRange(0, 9))),
        ("9110-14.1-unit-case-insensitive", ranges("Bytes=0-4"), Single(ByteRange(0, 4))),
        ("9110-14.1.2-large-numerals", ranges(f"bytes=1-{HUGE}"), Single(ByteRange(1, 9))),
        ("9110-14.1.2-large-suffix", ranges(f"bytes=-{HUGE}"), Single(ByteRange(0, 9))),
        ("9110-14.1.2-large-first", ranges(f"bytes={HUGE}-"), Unsatisfiable()),
        ("9110-14.1.1-behind-the-end", ranges("bytes=10-"), Unsatisfiable()),
        ("9110-14.1.1-empty-suffix", ranges("bytes=-0"), Unsatisfiable()),
        ("9110-14.1.1-all-behind", ranges("bytes=10-,20-30"), Unsatisfiable()),
        ("9110-14.1.1-one-behind", ranges("bytes=10-,2-3"), Single(ByteRange(2, 3))),
        ("9110-14.1.1-last-before-first", ranges("bytes=4-2"), Whole()),
        ("9110-14.1.1-one-invalid-of-two", ranges("bytes=0-1,4-2"), Whole()),
        ("9110-14.2-other-unit", ranges("items=0-1"), Whole()),
        ("9110-14.2-no-unit", ranges("0-1"), Whole()),
        ("9110-14.2-empty-set", ranges("bytes="), Whole()),
        ("9110-14.2-bare-dash", ranges("bytes=-"), Whole()),
        ("9110-14.2-letters", ranges("bytes=a-b"), Whole()),
        ("9110-14.2-inner-space", ranges("bytes=0 - 1"), Whole()),
        ("9110-14.2-sign", ranges("bytes=+1-2"), Whole()),
        ("9110-14.2-repeated-field", ["range: bytes=0-1", "range: bytes=2-3"], Whole()),
        (
            "9110-14.1.2-several",
            ranges("bytes=0-1, 4-5 ,-1"),
            Multiple((ByteRange(0, 1), ByteRange(4, 5), ByteRange(9, 9))),
        ),
        (
            "9110-15.3.7.2-order-asked",
            ranges("bytes=-1,0-1"),
            Multiple((ByteRange(9, 9), ByteRange(0, 1))),
        ),
        ("9110-5.6.1-empty-elements", ranges("bytes=,0-1,,"), Single(ByteRange(0, 1))),
        ("9110-14.2-same-twice", ranges("bytes=0-1,0-1"), Single(ByteRange(0, 1))),
        ("9110-15.3.7.2-overlap", ranges("bytes=0-5,3-7"), Single(ByteRange(0, 7))),
        ("9110-15.3.7.2-within", ranges("bytes=0-7,3-5"), Single(ByteRange(0, 7))),
        ("9110-15.3.7.2-touching", ranges("bytes=0-1,2-3"), Single(ByteRange(0, 3))),
        (
            "9110-15.3.7.2-overlap-keeps-first-place",
            ranges("bytes=7-8,0-1,8-9"),
            Multiple((ByteRange(7, 9), ByteRange(0, 1))),
        ),
        (
            "9110-14.2-as-many-as-allowed",
            ranges("bytes=" + ",".join(["0-0"] * MAX_RANGES)),
            Single(ByteRange(0, 0)),
        ),
        ("9110-14.2-too-many", ranges("bytes=" + ",".join(["0-0"] * (MAX_RANGES + 1))), Whole()),
    ),
)
def test_ranges(lines: list[str], expected: RangeChoice) -> None:
    found = select_ranges("GET", fields(*lines), [], TAGGED, status=200, length=10, now_ms=NOW_MS)
    assert found == expected


@pytest.mark.parametrize(
    ("if_range", "current", "honoured"),
    table(
        ("9110-13.1.5-strong", '"x"', TAGGED, True),
        ("9110-13.1.5-other", '"y"', TAGGED, False),
        ("9110-13.1.5-weak-asked", 'W/"x"', TAGGED, False),
        ("9110-13.1.5-weak-current", '"x"', WEAK, False),
        ("9110-13.1.5-both-weak", 'W/"x"', WEAK, False),
        ("9110-13.1.5-no-etag", '"x"', DATED_STRONGLY, False),
        ("9110-13.1.5-list", '"x", "y"', TAGGED, False),
        ("9110-13.1.5-star", "*", TAGGED, False),
        ("9110-13.1.5-date", MODIFIED.decode(), DATED_STRONGLY, True),
        ("9110-13.1.5-later-date", LATER.decode(), DATED_STRONGLY, False),
        ("9110-13.1.5-earlier-date", EARLIER.decode(), DATED_STRONGLY, False),
        ("9110-8.8.2.2-weak-date", MODIFIED.decode(), DATED_WEAKLY, False),
        ("9110-8.8.2.2-never-received", MODIFIED.decode(), DATED, False),
        ("9110-13.1.5-no-date", MODIFIED.decode(), TAGGED, False),
        ("9110-13.1.5-junk", "x", TAGGED, False),
        ("9110-13.1.5-empty", "", TAGGED, False),
    ),
)
def test_if_range(if_range: str, current: Validators, honoured: bool) -> None:
    request = fields("range: bytes=0-1", f"if-range: {if_range}")
    found = select_ranges("GET", request, [], current, status=200, length=10, now_ms=NOW_MS)
    assert found == (Single(ByteRange(0, 1)) if honoured else Whole())


def test_9110_13_1_5_a_repeated_if_range_gets_the_whole() -> None:
    request = fields("range: bytes=0-1", 'if-range: "x"', 'if-range: "x"')
    found = select_ranges("GET", request, [], TAGGED, status=200, length=10, now_ms=NOW_MS)
    assert found == Whole()


@pytest.mark.parametrize(
    ("method", "status", "stored", "length", "value", "expected"),
    table(
        ("9110-14.2-head", "HEAD", 200, [], 10, "bytes=0-1", Whole()),
        ("9110-14.2-post", "POST", 200, [], 10, "bytes=0-1", Whole()),
        ("9110-14.2-not-found", "GET", 404, [], 10, "bytes=0-1", Whole()),
        ("9110-14.2-other-success", "GET", 203, [], 10, "bytes=0-1", Whole()),
        ("9110-14.3-opted-out", "GET", 200, ["accept-ranges: none"], 10, "bytes=0-1", Whole()),
        (
            "9110-14.3-announced",
            "GET",
            200,
            ["accept-ranges: bytes"],
            10,
            "bytes=0-1",
            Single(ByteRange(0, 1)),
        ),
        ("9110-14.1.2-empty-body", "GET", 200, [], 0, "bytes=0-", Unsatisfiable()),
        ("9110-14.1.2-empty-body-suffix", "GET", 200, [], 0, "bytes=-5", Whole()),
    ),
)
def test_where_ranges_apply(
    method: str,
    status: int,
    stored: list[str],
    length: int,
    value: str,
    expected: RangeChoice,
) -> None:
    found = select_ranges(
        method,
        fields(f"range: {value}"),
        fields(*stored),
        PLAIN,
        status=status,
        length=length,
        now_ms=NOW_MS,
    )
    assert found == expected


# Answers

BODY = b"0123456789"
ANSWERED = fields("content-type: text/plain", 'etag: "x"', "cache-control: max-age=9", "x-a: 1")


def answered(method: str, *lines: str, status: int = 200) -> Message:
    return conditional_message(
        method,
        fields(*lines),
        status=status,
        headers=ANSWERED,
        body=BODY,
        received_ms=NOW_MS,
        now_ms=NOW_MS,
        boundary=b"XX",
    )


def test_9110_15_3_1_the_whole_has_its_length() -> None:
    assert answered("GET") == (200, [*ANSWERED, (b"content-length", b"10")], BODY)


def test_9110_9_3_2_head_has_the_headers_of_the_get_and_no_body() -> None:
    assert answered("HEAD") == (*answered("GET")[:2], b"")


def test_9110_14_2_a_range_on_head_is_ignored() -> None:
    assert answered("HEAD", "range: bytes=0-1") == answered("HEAD")


def test_9110_8_6_a_204_has_no_length() -> None:
    assert b"content-length" not in dict(answered("GET", status=204)[1])


def test_9110_15_4_5_a_304_has_neither_body_nor_length() -> None:
    kept = fields('etag: "x"', "cache-control: max-age=9", "x-a: 1")
    assert answered("GET", 'if-none-match: "x"', "range: bytes=0-1") == (304, kept, b"")


def test_9110_15_5_13_a_failed_precondition_is_not_cacheable() -> None:
    assert answered("GET", 'if-match: "y"') == (412, fields("x-a: 1", "content-length: 0"), b"")


def test_9110_15_3_7_1_a_single_part() -> None:
    status, headers, body = answered("GET", "range: bytes=2-3")
    assert (status, body) == (206, b"23")
    assert headers == [*ANSWERED, *fields("content-range: bytes 2-3/10", "content-length: 2")]


def test_9110_15_3_7_2_several_parts() -> None:
    status, headers, body = answered("GET", "range: bytes=0-1,-1")
    assert status == 206
    assert body == (
        b"--XX\r\ncontent-type: text/plain\r\ncontent-range: bytes 0-1/10\r\n\r\n01\r\n"
        b"--XX\r\ncontent-type: text/plain\r\ncontent-range: bytes 9-9/10\r\n\r\n9\r\n"
        b"--XX--\r\n"
    )
    sent = dict(headers)
    assert sent[b"content-type"] == b"multipart/byteranges; boundary=XX"
    assert sent[b"content-length"] == b"%d" % len(body)
    assert b"content-range" not in sent
    assert sent[b"etag"] == b'"x"'


def test_9110_15_5_17_an_unsatisfiable_range_names_the_length() -> None:
    assert answered("GET", "range: bytes=10-") == (
        416,
        fields("x-a: 1", "content-range: bytes */10", "content-length: 0"),
        b"",
    )


def test_9110_13_2_2_a_failed_if_range_gets_the_whole() -> None:
    assert answered("GET", "range: bytes=10-", 'if-range: "y"')[0] == 200


# Storing


def refusal(*lines: str, status: int = 200, **options: Any) -> Reason | None:
    limits: dict[str, Any] = {
        "body_size": 10,
        "max_body_size": 100,
        "max_header_size": 200,
        "lifetime_ms": 1000,
    }
    return storage_refusal(status, fields(*lines), **{**limits, **options})


@pytest.mark.parametrize(
    ("lines", "options", "expected"),
    table(
        ("9111-3-plain", ["content-type: text/plain"], {}, None),
        ("9111-3-201", [], {"status": 201}, None),
        ("9111-3-no-content", [], {"status": 204}, Reason.STATUS),
        ("9111-3-unknown-status", [], {"status": 299}, Reason.STATUS),
        ("9111-3-not-found", [], {"status": 404}, Reason.STATUS),
        ("9111-3-not-found-allowed", [], {"status": 404, "allowed_statuses": {404: 10}}, None),
        ("9110-15.4.5-304-allowed", [], {"status": 304, "allowed_statuses": {304}}, Reason.STATUS),
        (
            "9110-15.5.13-412-allowed",
            [],
            {"status": 412, "allowed_statuses": {412}},
            Reason.STATUS,
        ),
        (
            "9111-3.3-206-allowed",
            [],
            {"status": 206, "allowed_statuses": {206}},
            Reason.PARTIAL_CONTENT,
        ),
        ("9111-3.3-content-range", ["content-range: bytes 0-9/20"], {}, Reason.PARTIAL_CONTENT),
        ("9111-3.3-short", ["content-length: 11"], {}, Reason.UNFINISHED),
        ("9111-3.3-junk-length", ["content-length: x"], {}, Reason.UNFINISHED),
        ("9111-3.3-exact", ["content-length: 10"], {}, None),
        ("9111-5.2.2.5-no-store", ["cache-control: no-store"], {}, Reason.NO_STORE),
        ("9111-5.2.2.5-no-store-in-any-case", ["Cache-Control: No-Store"], {}, Reason.NO_STORE),
        (
            "9111-5.2.2.3-must-understand-lifts-no-store",
            ["cache-control: must-understand, no-store"],
            {},
            None,
        ),
        ("9111-5.2.2.4-no-cache", ["cache-control: no-cache"], {}, Reason.NO_CACHE),
        ("9111-5.2.2.4-qualified", ['cache-control: no-cache="x-a"'], {}, None),
        (
            "9111-5.2.2.7-private-in-shared",
            ["cache-control: private"],
            {"shared": True},
            Reason.PRIVATE,
        ),
        ("9111-5.2.2.7-private-in-private", ["cache-control: private"], {}, None),
        (
            "9111-5.2.2.7-qualified-in-shared",
            ['cache-control: private="x-a"'],
            {"shared": True},
            None,
        ),
        ("9111-4.2-stale-already", [], {"lifetime_ms": 0}, Reason.STALE),
        ("9111-4.2-no-expiry", [], {"lifetime_ms": None}, None),
        ("9111-4.1-vary-star", ["vary: accept, *"], {}, Reason.VARY_STAR),
        ("9111-4.1-vary-junk", ["vary: accept origin"], {}, Reason.VARY_STAR),
        ("9111-4.1-vary", ["vary: accept"], {}, None),
        ("9111-7.3-cookie-dropped", ["set-cookie: a=1"], {}, None),
        ("9110-5.1-name", ["x y: 1"], {}, Reason.MALFORMED_HEADER),
        ("9110-5.5-line-break", ["x-a: 1\r\nx-b: 2"], {}, Reason.MALFORMED_HEADER),
        ("9110-5.5-nul", ["x-a: \x00"], {}, Reason.MALFORMED_HEADER),
        ("limit-header", ["x-a: " + "1" * 193], {}, None),
        ("limit-header-exceeded", ["x-a: " + "1" * 194], {}, Reason.HEADERS_TOO_LARGE),
        ("limit-header-of-what-is-kept", ["set-cookie: " + "1" * 500], {}, None),
        ("limit-body", [], {"body_size": 100}, None),
        ("limit-body-exceeded", [], {"body_size": 101}, Reason.BODY_TOO_LARGE),
        (
            "limit-body-before-unfinished",
            ["content-length: 102"],
            {"body_size": 101},
            Reason.BODY_TOO_LARGE,
        ),
    ),
)
def test_storage(lines: list[str], options: dict[str, Any], expected: Reason | None) -> None:
    assert refusal(*lines, **options) is expected


def test_reason_names_are_stable_tokens() -> None:
    assert {reason.value for reason in Reason} == {
        "status",
        "partial-content",
        "unfinished",
        "request-no-store",
        "no-store",
        "no-cache",
        "private",
        "stale",
        "vary",
        "vary-star",
        "malformed-header",
        "headers-too-large",
        "body-too-large",
        "when",
        "form",
        "unknown-security-scheme",
        "no-key",
        "only-if-cached",
        "failed",
        "unavailable",
        "writing",
        "unstorable",
        "contended",
    }


@pytest.mark.parametrize(
    ("lines", "kept"),
    table(
        (
            "9110-5.3-repeated-in-order",
            ["link: a", "x-a: 1", "link: b"],
            ["link: a", "x-a: 1", "link: b"],
        ),
        ("9110-5.1-lower-case", ["X-A: Aa"], ["x-a: Aa"]),
        ("9111-7.3-cookies", ["Set-Cookie: a=1", "x-a: 1", "set-cookie: b=2"], ["x-a: 1"]),
        (
            "9110-7.6.1-hop-by-hop",
            [
                "keep-alive: 5",
                "te: trailers",
                "trailer: x",
                "upgrade: h2c",
                "proxy-connection: close",
                "proxy-authenticate: Basic",
                "proxy-authentication-info: x",
                "transfer-encoding: chunked",
            ],
            [],
        ),
        (
            "9110-7.6.1-named-by-connection",
            ["Connection: close, X-Hop", "x-hop: 1", "x-a: 1"],
            ["x-a: 1"],
        ),
        ("9110-6.6.1-date", ["date: now", "x-a: 1"], ["x-a: 1"]),
        ("9110-8.6-length", ["content-length: 1", "content-type: a/b"], ["content-type: a/b"]),
        ("9111-5.1-age", ["age: 5"], []),
        ("9211-2-own", ["x-redis-cache: HIT", "cache-status: x; hit"], []),
        (
            "9111-5.2.2.7-fields-of-private",
            ['cache-control: private="x-user"', "x-user: me"],
            ['cache-control: private="x-user"'],
        ),
        (
            "9111-5.2.2.4-fields-of-no-cache",
            ['cache-control: no-cache="x-user"', "x-user: me"],
            ['cache-control: no-cache="x-user"'],
        ),
    ),
)
def test_storable_headers(lines: list[str], kept: list[str]) -> None:
    assert storable_headers(fields(*lines)) == fields(*kept)


def test_header_block_size_counts_the_lines_as_sent() -> None:
    assert header_block_size(fields("a: 1", "bc: 23")) == len(b"a: 1\r\nbc: 23\r\n")


# Vary


@pytest.mark.parametrize(
    ("lines", "expected"),
    table(
        ("9110-12.5.5-none", [], ()),
        ("9110-12.5.5-merged", ["vary: Origin, accept", "vary: ORIGIN"], (b"accept", b"origin")),
        ("9110-12.5.5-star", ["vary: accept", "vary: *"], STAR),
        ("9110-12.5.5-no-name", ["vary: a b"], STAR),
        ("9110-5.6.1-empty-elements", ["vary: ,, accept ,"], (b"accept",)),
    ),
)
def test_vary_names(lines: list[str], expected: VaryNames) -> None:
    assert vary_names(fields(*lines)) == expected


@pytest.mark.parametrize(
    ("lines", "more", "expected"),
    table(
        ("9110-12.5.5-nothing", [], [], None),
        ("9110-12.5.5-ours", [], [b"Accept"], b"accept"),
        ("9110-12.5.5-both", ["vary: origin"], [b"accept", b"origin"], b"accept, origin"),
        ("9110-12.5.5-star-wins", ["vary: *"], [b"accept"], b"*"),
    ),
)
def test_merged_vary(lines: list[str], more: list[bytes], expected: bytes | None) -> None:
    assert merged_vary(fields(*lines), more) == expected


@pytest.mark.parametrize(
    ("name", "one", "other", "same"),
    table(
        ("9111-4.1-whitespace", b"x-a", ["x-a: a,b"], ["x-a:  a ,  b "], True),
        ("9111-4.1-lines-combined", b"x-a", ["x-a: a", "x-a: b"], ["x-a: a, b"], True),
        ("9111-4.1-order-counts", b"x-a", ["x-a: a, b"], ["x-a: b, a"], False),
        ("9111-4.1-absent-is-not-empty", b"x-a", [], ["x-a: "], False),
        ("9111-4.1-both-absent", b"x-a", [], ["x-b: 1"], True),
        ("9111-4.1-case-counts", b"x-a", ["x-a: A"], ["x-a: a"], False),
        (
            "9110-12.5.4-language-case",
            b"accept-language",
            ["accept-language: DE"],
            ["accept-language: de"],
            True,
        ),
        ("9110-5.6.4-quoted-comma", b"x-a", ['x-a: "a,b"'], ['x-a: "a, b"'], False),
    ),
)
def test_selecting_key(name: bytes, one: list[str], other: list[str], same: bool) -> None:
    first, second = fields(*one), fields(*other)
    assert (selecting_key([name], first) == selecting_key([name], second)) is same


SELECTING = st.dictionaries(st.sampled_from([b"a", b"b", b"c"]), st.binary(max_size=4))


@given(SELECTING, SELECTING)
def test_selecting_keys_are_injective(one: dict[bytes, bytes], other: dict[bytes, bytes]) -> None:
    nominated = [b"a", b"b", b"c"]
    first, second = list(one.items()), list(other.items())
    values = [
        {name: b", ".join(list_elements(request, name)) for name, _ in request}
        for request in (first, second)
    ]
    same_values = values[0] == values[1]
    assert (selecting_key(nominated, first) == selecting_key(nominated, second)) is same_values


# Freshness


def test_9111_4_2_3_age_counts_whole_seconds() -> None:
    assert age_seconds(created_ms=1_000, now_ms=4_999) == 3


def test_9111_4_2_3_a_clock_that_went_back_gives_no_negative_age() -> None:
    assert age_seconds(created_ms=9_000, now_ms=1_000) == 0


@pytest.mark.parametrize(
    ("lines", "expected"),
    table(
        ("9111-5.1-none", [], 0),
        ("9111-5.1-age", ["age: 12"], 12),
        ("9111-5.1-first-counts", ["age: 3", "age: 9"], 3),
        ("9111-5.1-junk", ["age: -1"], 0),
        ("9111-1.2.2-overflow", [f"age: {HUGE}"], DELTA_SECONDS_MAX),
    ),
)
def test_prior_age(lines: list[str], expected: int) -> None:
    assert prior_age(fields(*lines)) == expected


@pytest.mark.parametrize(
    ("lines", "ttl_ms", "shared", "expected"),
    table(
        ("9111-4.2.1-ours", [], 5000, False, 5000),
        ("9111-4.2.1-for-ever", [], None, False, None),
        ("9111-4.2.1-max-age", ["cache-control: max-age=2"], 5000, False, 2000),
        ("9111-4.2.1-longer-max-age", ["cache-control: max-age=9"], 5000, False, 5000),
        ("9111-4.2.1-max-age-alone", ["cache-control: max-age=9"], None, False, 9000),
        ("9111-4.2.1-s-maxage-shared", ["cache-control: max-age=2, s-maxage=3"], 5000, True, 3000),
        (
            "9111-4.2.1-s-maxage-not-shared",
            ["cache-control: max-age=2, s-maxage=3"],
            5000,
            False,
            2000,
        ),
        (
            "9111-5.3-expires-from-date",
            [dated("expires", LATER), dated("date", MODIFIED)],
            5000,
            False,
            1000,
        ),
        ("9111-5.3-expires-from-now", [dated("expires", LATER)], 5000, False, 0),
        ("9111-5.3-invalid-expires", ["expires: 0"], 5000, False, 0),
        (
            "9111-5.3-repeated-expires",
            [dated("expires", LATER), dated("expires", LATER), dated("date", MODIFIED)],
            5000,
            False,
            0,
        ),
        ("9111-5.3-max-age-wins", ["cache-control: max-age=2", "expires: 0"], 5000, False, 2000),
    ),
)
def test_freshness_lifetime(
    lines: list[str], ttl_ms: int | None, shared: bool, expected: int | None
) -> None:
    found = freshness_lifetime_ms(fields(*lines), ttl_ms=ttl_ms, now_ms=NOW_MS, shared=shared)
    assert found == expected


@pytest.mark.parametrize(
    ("value", "alone", "shared"),
    table(
        ("9111-4.2.4-nothing", "max-age=1", False, False),
        ("9111-5.2.2.2-must-revalidate", "must-revalidate", True, True),
        ("9111-5.2.2.4-no-cache", "no-cache", True, True),
        ("9111-5.2.2.8-proxy-revalidate", "proxy-revalidate", False, True),
        ("9111-5.2.2.10-s-maxage", "s-maxage=1", False, True),
    ),
)
def test_stale_forbidden(value: str, alone: bool, shared: bool) -> None:
    directives = response_directives(fields(f"cache-control: {value}"))
    assert stale_forbidden(directives) is alone
    assert stale_forbidden(directives, shared=True) is shared


def asks(**directives: Any) -> RequestDirectives:
    return RequestDirectives(**directives)


REQUEST, STALE = MustRevalidate(Forward.REQUEST), MustRevalidate(Forward.STALE)


@pytest.mark.parametrize(
    ("directives", "age_ms", "options", "expected"),
    table(
        ("9111-4.2-fresh", IGNORED, 4_000, {}, Fresh(ttl=6)),
        ("9111-4.2-last-millisecond", IGNORED, 9_999, {}, Fresh(ttl=0)),
        ("9111-4.2-expired", IGNORED, 10_000, {}, STALE),
        ("9111-4.2-for-ever", IGNORED, 10**12, {"lifetime_ms": None}, Fresh(ttl=None)),
        ("9111-5.2.1.4-no-cache", asks(no_cache=True), 0, {}, REQUEST),
        ("9111-5.2.1.4-no-cache-stale", asks(no_cache=True), 99_000, {}, REQUEST),
        ("9111-5.2.1.4-no-cache-for-ever", asks(no_cache=True), 0, {"lifetime_ms": None}, REQUEST),
        ("9111-5.2.1.1-max-age-young", asks(max_age=5), 4_999, {}, Fresh(ttl=5)),
        ("9111-5.2.1.1-max-age-old", asks(max_age=5), 5_000, {}, REQUEST),
        ("9111-5.2.1.1-max-age-0", asks(max_age=0), 0, {}, REQUEST),
        ("9111-5.2.1.1-max-age-for-ever", asks(max_age=5), 6_000, {"lifetime_ms": None}, REQUEST),
        (
            "9111-5.2.1.1-max-age-means-not-stale",
            asks(max_age=60),
            11_000,
            {"stale_while_revalidate_ms": 9_000},
            STALE,
        ),
        (
            "9111-5.2.1.1-max-age-and-max-stale",
            asks(max_age=60, max_stale=5),
            11_000,
            {},
            Stale(ttl=-1, refresh=False),
        ),
        ("9111-5.2.1.1-max-age-bounds-max-stale", asks(max_age=10, max_stale=5), 11_000, {}, STALE),
        ("9111-5.2.1.3-min-fresh", asks(min_fresh=6), 4_000, {}, Fresh(ttl=6)),
        ("9111-5.2.1.3-min-fresh-too-soon", asks(min_fresh=6), 4_001, {}, REQUEST),
        ("9111-5.2.1.3-for-ever", asks(min_fresh=6), 4_001, {"lifetime_ms": None}, Fresh(ttl=None)),
        ("9111-5.2.1.3-min-fresh-0-is-fresh", asks(min_fresh=0, max_stale=9), 10_000, {}, STALE),
        ("9111-5.2.1.2-max-stale", asks(max_stale=5), 15_000, {}, Stale(ttl=-5, refresh=False)),
        ("9111-5.2.1.2-too-stale", asks(max_stale=5), 15_001, {}, STALE),
        (
            "9111-5.2.1.2-any-staleness",
            asks(max_stale=DELTA_SECONDS_MAX),
            10**9,
            {},
            Stale(ttl=-999_990, refresh=False),
        ),
        ("9111-4.2.4-forbidden", asks(max_stale=5), 11_000, {"never_stale": True}, STALE),
        (
            "5861-3-window",
            IGNORED,
            12_999,
            {"stale_while_revalidate_ms": 3_000},
            Stale(ttl=-2, refresh=True),
        ),
        ("5861-3-after-it", IGNORED, 13_000, {"stale_while_revalidate_ms": 3_000}, STALE),
        (
            "5861-3-forbidden",
            IGNORED,
            11_000,
            {"stale_while_revalidate_ms": 3_000, "never_stale": True},
            STALE,
        ),
        ("9111-5.2.1.7-fresh", asks(only_if_cached=True), 0, {}, Fresh(ttl=10)),
        ("9111-5.2.1.7-stale", asks(only_if_cached=True), 10_000, {}, STALE),
        (
            "9111-5.2.1.7-no-cache",
            asks(only_if_cached=True, no_cache=True),
            0,
            {},
            REQUEST,
        ),
    ),
)
def test_assess_freshness(
    directives: RequestDirectives, age_ms: int, options: dict[str, Any], expected: _http.Freshness
) -> None:
    assert assess_freshness(directives, age_ms=age_ms, **{"lifetime_ms": 10_000, **options}) == (
        expected
    )


@pytest.mark.parametrize(
    ("directives", "staleness_ms", "options", "expected"),
    table(
        ("5861-4-not-stated", IGNORED, 0, {}, False),
        ("5861-4-within", IGNORED, 2_999, {"stale_if_error_ms": 3_000}, True),
        ("5861-4-after", IGNORED, 3_000, {"stale_if_error_ms": 3_000}, False),
        ("5861-4-asked", asks(stale_if_error=2), 1_999, {}, True),
        ("5861-4-asked-too-long-ago", asks(stale_if_error=2), 2_000, {}, False),
        (
            "5861-4-lower-limit-counts",
            asks(stale_if_error=2),
            2_500,
            {"stale_if_error_ms": 3_000},
            False,
        ),
        (
            "5861-4-response-limit-counts",
            asks(stale_if_error=9),
            3_500,
            {"stale_if_error_ms": 3_000},
            False,
        ),
        (
            "9111-5.2.2.2-forbidden",
            IGNORED,
            1,
            {"stale_if_error_ms": 3_000, "never_stale": True},
            False,
        ),
    ),
)
def test_usable_on_error(
    directives: RequestDirectives, staleness_ms: int, options: dict[str, Any], expected: bool
) -> None:
    assert usable_on_error(directives, staleness_ms=staleness_ms, **options) is expected


FRACTIONS = st.floats(min_value=0, max_value=1)


@given(st.integers(min_value=1, max_value=10**12), FRACTIONS, FRACTIONS)
def test_jitter_only_shortens_and_by_no_more_than_its_fraction(
    ttl_ms: int, jitter: float, draw: float
) -> None:
    found = jittered_ttl_ms(ttl_ms, jitter=jitter, draw=draw)
    assert max(1, round(ttl_ms * (1 - jitter))) <= found <= ttl_ms


def test_no_jitter_leaves_the_lifetime() -> None:
    assert jittered_ttl_ms(1234, jitter=0, draw=0.9) == 1234


@pytest.mark.parametrize(
    ("remaining_ms", "cost_ms", "beta", "draw", "expected"),
    table(
        ("xfetch-unlucky-draw", 693, 1000, 1, 0.5, True),
        ("xfetch-lucky-draw", 694, 1000, 1, 0.5, False),
        ("xfetch-cheap-waits", 693, 999, 1, 0.5, False),
        ("xfetch-eager", 1386, 1000, 2, 0.5, True),
        ("xfetch-off", 0, 1000, 0, 0.999, False),
        ("xfetch-smallest-draw", 1, 1000, 1, 0.0, False),
        ("xfetch-expired", 0, 1000, 1, 0.0, True),
    ),
)
def test_early_refresh(
    remaining_ms: int, cost_ms: float, beta: float, draw: float, expected: bool
) -> None:
    found = refresh_due_early(remaining_ms=remaining_ms, cost_ms=cost_ms, beta=beta, draw=draw)
    assert found is expected


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.floats(0, 1, exclude_max=True))
def test_early_refresh_is_likelier_nearer_to_expiry(near: int, far: int, draw: float) -> None:
    near, far = sorted((near, far))
    at_far = refresh_due_early(remaining_ms=far, cost_ms=50, beta=1, draw=draw)
    at_near = refresh_due_early(remaining_ms=near, cost_ms=50, beta=1, draw=draw)
    assert at_near or not at_far


# Cache-Control to send


@pytest.mark.parametrize(
    ("options", "expected"),
    table(
        ("9111-5.2.2.1-max-age", {"max_age": 300}, b"max-age=300"),
        ("9111-5.2.2.4-no-lifetime", {"max_age": 0}, b"no-cache"),
        ("9111-5.2.2.4-no-expiry", {"max_age": None}, b"no-cache"),
        ("9111-5.2.2.7-private", {"max_age": 300, "private": True}, b"private, max-age=300"),
        ("9111-5.2.2.7-private-no-cache", {"max_age": 0, "private": True}, b"private, no-cache"),
        (
            "9111-5.2.2.7-private-wins",
            {"max_age": 3, "private": True, "s_maxage": 9},
            b"private, max-age=3",
        ),
        ("9111-5.2.2.10-s-maxage", {"max_age": 3, "s_maxage": 9}, b"max-age=3, s-maxage=9"),
        ("9111-5.2.2.10-s-maxage-0", {"max_age": 3, "s_maxage": 0}, b"max-age=3, s-maxage=0"),
        ("9111-5.2.2.10-shared-only", {"max_age": 0, "s_maxage": 9}, b"max-age=0, s-maxage=9"),
        (
            "5861-3-windows",
            {"max_age": 3, "stale_while_revalidate": 4, "stale_if_error": 5},
            b"max-age=3, stale-while-revalidate=4, stale-if-error=5",
        ),
        (
            "5861-3-windows-without-lifetime",
            {"max_age": 0, "stale_while_revalidate": 4, "stale_if_error": 5},
            b"no-cache",
        ),
        ("8246-2-immutable", {"max_age": 3, "immutable": True}, b"max-age=3, immutable"),
        ("8246-2-immutable-without-lifetime", {"max_age": 0, "immutable": True}, b"no-cache"),
        (
            "9111-5.2.3-extra",
            {"max_age": 3, "extra": ["no-transform", "community=x"]},
            b"max-age=3, no-transform, community=x",
        ),
        ("9111-1.2.2-overflow", {"max_age": 10**12}, b"max-age=2147483648"),
    ),
)
def test_cache_control_value(options: dict[str, Any], expected: bytes) -> None:
    assert cache_control_value(**options) == expected


def test_9213_3_1_a_targeted_field_states_a_lifetime_of_its_own() -> None:
    assert cdn_cache_control_value(max_age=600) == b"max-age=600"


@pytest.mark.parametrize(
    ("lines", "private", "expected"),
    table(
        ("9111-5.2-ours", [], False, b"OURS"),
        ("9111-5.2-own", ["cache-control: max-age=1"], False, b"max-age=1"),
        (
            "9111-5.2-own-lines",
            ["cache-control: max-age=1", "cache-control: immutable"],
            False,
            b"max-age=1, immutable",
        ),
        ("9111-5.2-own-empty", ["cache-control: "], False, b"OURS"),
        ("9111-5.3-own-expires", ["expires: 0"], False, None),
        ("9111-5.3-own-expires-for-one-user", ["expires: 0"], True, b"private"),
        (
            "9111-5.2.2.7-own-for-one-user",
            ["cache-control: max-age=1"],
            True,
            b"max-age=1, private",
        ),
        (
            "9111-5.2.2.9-own-says-public",
            ["cache-control: public, max-age=1"],
            True,
            b"public, max-age=1",
        ),
        ("9111-5.2.2.10-own-says-shared", ["cache-control: s-maxage=1"], True, b"s-maxage=1"),
        ("9111-5.2.2.5-own-says-no-store", ["cache-control: no-store"], True, b"no-store"),
    ),
)
def test_an_endpoints_own_cache_control_stands(
    lines: list[str], private: bool, expected: bytes | None
) -> None:
    assert cache_control_to_send(fields(*lines), b"OURS", private=private) == expected


# Cache-Status


@pytest.mark.parametrize(
    ("options", "expected"),
    table(
        ("9211-2.1-hit", {"hit": True, "ttl": 376}, b"redis; hit; ttl=376"),
        ("9211-2.5-stale-hit", {"hit": True, "ttl": -412}, b"redis; hit; ttl=-412"),
        (
            "9211-2.2-miss",
            {"fwd": Forward.URI_MISS, "stored": True, "ttl": 9},
            b"redis; fwd=uri-miss; stored; ttl=9",
        ),
        (
            "9211-2.6-collapsed",
            {"fwd": Forward.MISS, "collapsed": True},
            b"redis; fwd=miss; collapsed",
        ),
        (
            "9211-2.3-status",
            {"fwd": Forward.STALE, "fwd_status": 304},
            b"redis; fwd=stale; fwd-status=304",
        ),
        (
            "9211-2.1-hit-was-not-forwarded",
            {"hit": True, "fwd": Forward.MISS, "stored": True},
            b"redis; hit",
        ),
        ("9211-2-neither", {"detail": "only-if-cached"}, b"redis; detail=only-if-cached"),
        ("9211-2-stored-only-when-forwarded", {"stored": True}, b"redis"),
        (
            "9211-2.7-key",
            {"hit": True, "key": 'a"\\ \u00fc%'},
            b'redis; hit; key="a\\"\\\\ %C3%BC%25"',
        ),
        (
            "9211-2.8-detail-text",
            {"fwd": Forward.BYPASS, "detail": "too big"},
            b'redis; fwd=bypass; detail="too big"',
        ),
        ("9211-2.8-detail-line-break", {"detail": "a\r\nb: c"}, b'redis; detail="a%0D%0Ab: c"'),
        ("9651-3.3.1-integer", {"hit": True, "ttl": 10**20}, b"redis; hit; ttl=999999999999999"),
    ),
)
def test_cache_status(options: dict[str, Any], expected: bytes) -> None:
    assert cache_status("redis", **options) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    table(
        ("9211-2-token", "Redis-Cache", b"Redis-Cache"),
        ("9211-2-string", "my cache", b'"my cache"'),
        ("9651-3.3.4-starts-with-digit", "1st", b'"1st"'),
        ("9651-3.3.3-empty", "", b'""'),
    ),
)
def test_cache_status_name(name: str, expected: bytes) -> None:
    assert cache_status(name) == expected


@pytest.mark.parametrize("reason", list(Reason), ids=lambda reason: f"9211-2.8-{reason.value}")
def test_every_refusal_is_a_plain_detail(reason: Reason) -> None:
    assert cache_status("redis", detail=reason.value) == f"redis; detail={reason.value}".encode()


# Invalidation


@pytest.mark.parametrize(
    ("method", "status", "lines", "expected"),
    table(
        ("9111-4.4-own-path", "PUT", 200, [], ["/a b/1"]),
        ("9111-4.4-no-content", "DELETE", 204, [], ["/a b/1"]),
        ("9111-4.4-redirect", "POST", 303, [], ["/a b/1"]),
        ("9111-4.4-unknown-method", "MERGE", 200, [], ["/a b/1"]),
        ("9111-4.4-client-error", "PUT", 404, ["location: /x"], []),
        ("9111-4.4-server-error", "PUT", 500, [], []),
        ("9110-9.2.1-get", "GET", 200, ["location: /x"], []),
        ("9110-9.2.1-head", "HEAD", 200, [], []),
        ("10008-query", "QUERY", 200, [], []),
        ("9111-4.4-location", "POST", 201, ["location: /b"], ["/a b/1", "/b"]),
        (
            "9111-4.4-both",
            "POST",
            201,
            ["location: /b", "content-location: /c?d=1#e"],
            ["/a b/1", "/b", "/c"],
        ),
        ("9111-4.4-each-once", "POST", 201, ["location: /a%20b/1"], ["/a b/1"]),
        ("9110-10.2.2-relative", "POST", 201, ["location: 2"], ["/a b/1", "/a b/2"]),
        ("9110-10.2.2-dots", "POST", 201, ["location: ../b"], ["/a b/1", "/b"]),
        (
            "9110-4.3.1-same-origin",
            "POST",
            201,
            ["location: HTTP://Shop.Example:80/b"],
            ["/a b/1", "/b"],
        ),
        ("9110-4.3.1-other-host", "POST", 201, ["location: http://evil.example/b"], ["/a b/1"]),
        ("9110-4.3.1-no-scheme", "POST", 201, ["location: //evil.example/b"], ["/a b/1"]),
        ("9110-4.3.1-other-port", "POST", 201, ["location: http://shop.example:81/b"], ["/a b/1"]),
        ("9110-4.3.1-other-scheme", "POST", 201, ["location: https://shop.example/b"], ["/a b/1"]),
        ("9110-4.3.1-root", "POST", 201, ["location: http://shop.example"], ["/a b/1", "/"]),
        ("9110-10.2.2-junk-port", "POST", 201, ["location: http://a:x/"], ["/a b/1"]),
        ("9110-10.2.2-junk-host", "POST", 201, ["location: http://[/"], ["/a b/1"]),
        ("9110-5.3-repeated", "POST", 201, ["location: /b", "location: /c"], ["/a b/1"]),
    ),
)
def test_invalidation_targets(
    method: str, status: int, lines: list[str], expected: list[str]
) -> None:
    found = invalidation_targets(
        method, status, fields(*lines), scheme="http", host="shop.example", path="/a b/1"
    )
    assert list(found) == expected


# Accept-Encoding


@pytest.mark.parametrize(
    ("accepted", "coded", "expected"),
    table(
        ("9110-12.5.3-not-coded", [], [], True),
        ("9110-12.5.3-identity", [], ["content-encoding: identity"], True),
        ("9110-12.5.3-not-coded-refused", ["accept-encoding: identity;q=0"], [], True),
        ("9110-12.5.3-not-asked", [], ["content-encoding: gzip"], False),
        ("9110-12.5.3-asked", ["accept-encoding: br, gzip"], ["content-encoding: gzip"], True),
        (
            "9110-12.5.3-over-lines",
            ["accept-encoding: br", "accept-encoding: gzip"],
            ["content-encoding: gzip"],
            True,
        ),
        ("9110-12.5.3-other", ["accept-encoding: br"], ["content-encoding: gzip"], False),
        ("9110-12.5.3-empty", ["accept-encoding: "], ["content-encoding: gzip"], False),
        ("9110-12.4.2-weight", ["accept-encoding: gzip;q=0.001"], ["content-encoding: gzip"], True),
        ("9110-12.4.2-zero", ["accept-encoding: gzip;q=0"], ["content-encoding: gzip"], False),
        (
            "9110-12.4.2-long-zero",
            ["accept-encoding: gzip ; Q=0.000"],
            ["content-encoding: gzip"],
            False,
        ),
        (
            "9110-12.4.2-refused-once",
            ["accept-encoding: gzip;q=0, gzip"],
            ["content-encoding: gzip"],
            False,
        ),
        ("9110-12.4.2-one", ["accept-encoding: gzip;q=1.000"], ["content-encoding: gzip"], True),
        ("9110-12.4.2-junk", ["accept-encoding: gzip;q=x"], ["content-encoding: gzip"], False),
        ("9110-12.5.3-star", ["accept-encoding: *"], ["content-encoding: zstd"], True),
        (
            "9110-12.5.3-star-but",
            ["accept-encoding: *, zstd;q=0"],
            ["content-encoding: zstd"],
            False,
        ),
        (
            "9110-12.5.3-only-star-zero",
            ["accept-encoding: zstd, *;q=0"],
            ["content-encoding: zstd"],
            True,
        ),
        ("9110-8.4.1.3-x-gzip", ["accept-encoding: X-GZip"], ["content-encoding: gzip"], True),
        ("9110-8.4-all-of-two", ["accept-encoding: gzip"], ["content-encoding: gzip, br"], False),
        ("9110-8.4-two", ["accept-encoding: br, gzip"], ["content-encoding: gzip, br"], True),
    ),
)
def test_encoding_acceptable(accepted: list[str], coded: list[str], expected: bool) -> None:
    assert encoding_acceptable(fields(*accepted), fields(*coded)) is expected
