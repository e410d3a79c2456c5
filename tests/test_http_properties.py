"""The HTTP rules hold for any input, and agree with a slow implementation of RFC 9110."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timezone
from email import message_from_bytes
from email.policy import HTTP
from typing import Annotated, Any, TypeAlias, TypeVar

import pytest
from fastapi import FastAPI
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from starlette.types import Message, Scope

from apps import caching_app
from redis_fastapi import Cached, CachePut
from redis_fastapi._http import (
    STAR,
    Fresh,
    Headers,
    MustRevalidate,
    Reason,
    assess_freshness,
    cache_control_to_send,
    cache_status,
    conditional_message,
    encoding_acceptable,
    freshness_lifetime_ms,
    invalidation_targets,
    merged_vary,
    prior_age,
    ranges,
    request_directives,
    response_directives,
    selecting_key,
    stale_forbidden,
    storable_headers,
    storage_refusal,
    usable_on_error,
    vary_names,
)
from redis_fastapi._http.directives import DELTA_SECONDS_MAX
from redis_fastapi._http.representation import failure_headers, not_modified_headers
from support import header_fields as fields

NOW_MS = 1_800_000_000_000
MODIFIED_MS = 784_111_777_000
MODIFIED = b"Sun, 06 Nov 1994 08:49:37 GMT"
MODIFIED_RFC850 = b"Sunday, 06-Nov-94 08:49:37 GMT"
MODIFIED_ASCTIME = b"Sun Nov  6 08:49:37 1994"
EARLIER = b"Sun, 06 Nov 1994 08:49:36 GMT"
LATER = b"Sun, 06 Nov 1994 08:49:38 GMT"


BODY = b"0123456789"

# Properties

FIELD_NAMES = [
    b"accept-encoding",
    b"accept-ranges",
    b"age",
    b"cache-control",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-location",
    b"content-range",
    b"content-type",
    b"date",
    b"etag",
    b"expires",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"last-modified",
    b"location",
    b"pragma",
    b"range",
    b"set-cookie",
    b"vary",
]
PIECES = [
    b",",
    b", ",
    b"=",
    b";",
    b'"',
    b"\\",
    b"*",
    b"-",
    b"0",
    b"1",
    b"99999999999999999999999",
    b"W/",
    b'"x"',
    b"bytes=",
    b"bytes=0-1",
    b"max-age",
    b"max-age=1",
    b"no-cache",
    b"no-store",
    b"private=",
    b"must-revalidate",
    b"gzip",
    b"q=",
    b"http://",
    b"//[",
    b"/a",
    b"%",
    b"%ff",
    b":",
    MODIFIED,
    MODIFIED_RFC850,
    MODIFIED_ASCTIME,
    b"\x00",
    b"\r\n",
    b"\xff",
]
VALUES = st.binary(max_size=20) | st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join)
SOUP = st.lists(
    st.tuples(st.sampled_from(FIELD_NAMES) | st.binary(max_size=8), VALUES), max_size=12
)
TIMES = st.integers(min_value=0, max_value=4 * 10**12)
METHODS = st.sampled_from(["GET", "HEAD", "PUT", "POST", "OPTIONS"])
STATUSES = st.sampled_from([100, 200, 204, 206, 301, 304, 404, 500])


@given(SOUP, SOUP, METHODS, STATUSES, st.binary(max_size=12), TIMES, TIMES)
def test_arbitrary_request_headers_never_raise(
    request: Headers,
    headers: Headers,
    method: str,
    status: int,
    body: bytes,
    received_ms: int,
    now_ms: int,
) -> None:
    sent_status, sent, content = conditional_message(
        method,
        request,
        status=status,
        headers=headers,
        body=body,
        received_ms=received_ms,
        now_ms=now_ms,
        boundary=b"b",
    )
    assert sent_status in {status, 206, 304, 412, 416}
    assert content == b"" or method != "HEAD"
    lengths = [value for name, value in sent if name == b"content-length"]
    if method != "HEAD" and sent_status not in {204, 304}:
        assert lengths == [b"%d" % len(content)]


@given(SOUP, STATUSES, st.booleans(), TIMES)
def test_arbitrary_headers_of_a_stored_response_never_raise(
    headers: Headers, status: int, shared: bool, now_ms: int
) -> None:
    refused = storage_refusal(
        status,
        headers,
        body_size=1,
        max_body_size=9,
        max_header_size=99,
        lifetime_ms=freshness_lifetime_ms(headers, ttl_ms=9, now_ms=now_ms, shared=shared),
        shared=shared,
    )
    assert refused is None or isinstance(refused, Reason)
    kept = storable_headers(headers)
    assert not {b"set-cookie", b"connection", b"content-length", b"date", b"age"} & {
        name for name, _ in kept
    }
    assert storable_headers(kept) == kept


@given(SOUP, SOUP, TIMES)
def test_arbitrary_headers_of_a_lookup_never_raise(
    request: Headers, headers: Headers, now_ms: int
) -> None:
    found = assess_freshness(request_directives(request), age_ms=5_000, lifetime_ms=9_000)
    assert isinstance(found, Fresh | MustRevalidate)
    assert isinstance(stale_forbidden(response_directives(headers)), bool)
    assert isinstance(usable_on_error(request_directives(request), staleness_ms=1), bool)
    assert isinstance(encoding_acceptable(request, headers), bool)
    assert 0 <= prior_age(headers) <= DELTA_SECONDS_MAX
    assert isinstance(cache_control_to_send(headers, b"no-cache", private=True), bytes | None)
    nominated = vary_names(headers)
    assert nominated is STAR or isinstance(selecting_key(nominated, request), bytes)
    assert isinstance(merged_vary(headers, [b"accept"]), bytes)
    assert b"content-type" not in dict(not_modified_headers(headers))
    assert b"etag" not in dict(failure_headers(headers))


@given(SOUP, st.text(), st.text(), st.text())
def test_arbitrary_headers_of_an_invalidation_never_raise(
    headers: Headers, scheme: str, host: str, path: str
) -> None:
    found = invalidation_targets("PUT", 200, headers, scheme=scheme, host=host, path=path)
    assert found[0] == path


@given(st.text(), st.text(), st.integers())
def test_cache_status_is_one_line_of_ascii(key: str, detail: str, ttl: int) -> None:
    built = cache_status("redis", hit=True, ttl=ttl, key=key, detail=detail)
    assert all(0x20 <= octet < 0x7F for octet in built)


# A slow reference, written from the text of the RFC on values that were never a header line


@dataclass(frozen=True)
class Tag:
    """An entity tag of the reference."""

    opaque: str
    weak: bool

    def __str__(self) -> str:
        return f'{"W/" if self.weak else ""}"{self.opaque}"'


@dataclass(frozen=True)
class Moment:
    """A second after `MODIFIED_MS`, to be written in one of the three formats."""

    second: int
    written: str

    def __str__(self) -> str:
        moment = datetime.fromtimestamp(MODIFIED_MS // 1000 + self.second, timezone.utc)
        return moment.strftime(self.written)


@dataclass(frozen=True)
class Span:
    """A range-spec: first and last, an open end, or (without a first) a suffix."""

    first: int | None
    last: int | None

    def __str__(self) -> str:
        return "-".join("" if number is None else str(number) for number in (self.first, self.last))

    def positions(self, length: int) -> list[int]:
        """The bytes it selects (section 14.1.2)."""
        if self.first is None:
            assert self.last is not None
            return [position for position in range(length) if position >= length - self.last]
        last = length if self.last is None else self.last
        return [position for position in range(length) if self.first <= position <= last]


T = TypeVar("T")
Tags: TypeAlias = list[Tag] | str
Junk: TypeAlias = str


@dataclass(frozen=True)
class Asked:
    """The conditions of a request; a `str` is the star or junk."""

    method: str
    if_match: Tags | None
    if_none_match: Tags | None
    if_modified_since: Moment | Junk | None
    if_unmodified_since: Moment | Junk | None
    if_range: Tag | Moment | Junk | None
    spans: list[Span] | None

    def lines(self) -> list[tuple[bytes, bytes]]:
        """The request's header lines."""
        conditions = {
            "if-match": self.if_match,
            "if-none-match": self.if_none_match,
            "if-modified-since": self.if_modified_since,
            "if-unmodified-since": self.if_unmodified_since,
            "if-range": self.if_range,
        }
        sent = [
            f"{name}: {written(value)}" for name, value in conditions.items() if value is not None
        ]
        if self.spans is not None:
            sent.append(f"range: bytes={','.join(map(str, self.spans))}")
        return fields(*sent)


def written(value: Tags | Tag | Moment) -> str:
    """A condition as it stands in its header line."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


@dataclass(frozen=True)
class Held:
    """The stored 200 of the reference; seconds count from `MODIFIED_MS`."""

    tag: Tag | None
    modified: Moment | None
    received_second: int
    length: int

    def lines(self) -> list[tuple[bytes, bytes]]:
        """Its header lines."""
        validators = {"etag": self.tag, "last-modified": self.modified}
        return fields(*[f"{name}: {value}" for name, value in validators.items() if value])


def reference_status(asked: Asked, held: Held) -> int:
    """Steps 1 to 6 of section 13.2.2."""
    if asked.if_match is not None:
        if not reference_if_match(asked.if_match, held):
            return 412
    elif isinstance(asked.if_unmodified_since, Moment) and (
        held.modified is not None and held.modified.second > asked.if_unmodified_since.second
    ):
        return 412
    if asked.if_none_match is not None:
        if reference_any_weakly(asked.if_none_match, held):
            return 304
    elif isinstance(asked.if_modified_since, Moment):
        changed = held.received_second if held.modified is None else held.modified.second
        if changed <= asked.if_modified_since.second:
            return 304
    if asked.method == "GET" and asked.spans and reference_if_range(asked.if_range, held):
        return reference_range_status(asked.spans, held.length)
    return 200


def reference_if_match(wanted: Tags, held: Held) -> bool:
    """Section 13.1.1, strong comparison."""
    if isinstance(wanted, str):
        return wanted == "*"
    tag = held.tag
    return tag is not None and not tag.weak and Tag(tag.opaque, weak=False) in wanted


def reference_any_weakly(known: Tags, held: Held) -> bool:
    """Section 13.1.2, weak comparison."""
    if isinstance(known, str):
        return known == "*"
    return held.tag is not None and held.tag.opaque in [tag.opaque for tag in known]


def reference_if_range(condition: Tag | Moment | Junk | None, held: Held) -> bool:
    """Sections 13.1.5 and 8.8.2.2."""
    if condition is None:
        return True
    if isinstance(condition, Tag):
        return held.tag == condition and not condition.weak
    if isinstance(condition, Moment) and held.modified is not None:
        exact = held.modified.second == condition.second
        return exact and held.received_second >= held.modified.second + 1
    return False


def reference_range_status(spans: list[Span], length: int) -> int:
    """Sections 14.1.1 and 14.2; an empty representation has no suffix to send."""
    if any(s.first is not None and s.last is not None and s.last < s.first for s in spans):
        return 200
    if length == 0 and any(s.first is None and s.last for s in spans):
        return 200
    return 206 if any(span.positions(length) for span in spans) else 416


def sent_parts(headers: Headers, body: bytes) -> list[tuple[int, bytes]]:
    """First position and content of every part of a 206, read by the standard library's parser."""
    head = b"".join(b"%b: %b\r\n" % line for line in headers)
    message = message_from_bytes(head + b"\r\n" + body, policy=HTTP)
    parts = list(message.iter_parts()) if message.is_multipart() else [message]
    return [
        (int(part["content-range"].split()[1].partition("-")[0]), part.get_content())
        for part in parts
    ]


SECONDS = st.integers(min_value=0, max_value=3)
WRITTEN = st.sampled_from(
    ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b  6 %H:%M:%S %Y"]
)
TAGS = st.builds(Tag, st.sampled_from(["", "a", "b", "a,b"]), st.booleans())
MOMENTS = st.builds(Moment, SECONDS, WRITTEN)
TAG_LISTS = st.lists(TAGS, min_size=1, max_size=3) | st.just("*") | st.sampled_from(["a", "", "W/"])
DATES = MOMENTS | st.sampled_from(["", "0", "Sun, 99 Nov 1994 08:49:37 GMT"])
POSITIONS = st.integers(min_value=0, max_value=12)
SPANS = st.builds(Span, POSITIONS, POSITIONS | st.none()) | st.builds(Span, st.none(), POSITIONS)


def seldom(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    """One time in five; a request with all its conditions rarely gets past the first."""
    return st.tuples(st.integers(1, 5), strategy).map(
        lambda pair: pair[1] if pair[0] == 5 else None
    )


ASKED = st.builds(
    Asked,
    method=st.sampled_from(["GET", "GET", "HEAD"]),
    if_match=seldom(TAG_LISTS),
    if_none_match=seldom(TAG_LISTS),
    if_modified_since=seldom(DATES),
    if_unmodified_since=seldom(DATES),
    if_range=seldom(TAGS | DATES),
    spans=st.none() | st.lists(SPANS, min_size=1, max_size=4),
)
HELD = st.builds(
    Held,
    tag=st.none() | TAGS,
    modified=st.none() | MOMENTS,
    received_second=SECONDS,
    length=st.integers(min_value=0, max_value=10),
)


def replied(asked: Asked, held: Held) -> ranges.Message:
    return conditional_message(
        asked.method,
        asked.lines(),
        status=200,
        headers=[*held.lines(), (b"content-type", b"application/octet-stream")],
        body=BODY[: held.length],
        received_ms=MODIFIED_MS + held.received_second * 1000,
        now_ms=NOW_MS,
        boundary=b"----boundary----",
    )


@pytest.mark.parametrize("status", [200, 206, 304, 412, 416])
def test_the_reference_computes_every_response(status: int) -> None:
    asked, held = find(
        st.tuples(ASKED, HELD),
        lambda pair: reference_status(*pair) == status,
        settings=settings(max_examples=5000, phases=[Phase.generate], database=None),
    )
    assert replied(asked, held)[0] == status


@settings(max_examples=1500)
@given(ASKED, HELD)
def test_the_selected_response_is_that_of_the_reference(asked: Asked, held: Held) -> None:
    assert replied(asked, held)[0] == reference_status(asked, held)


@given(st.lists(SPANS, min_size=1, max_size=6), st.integers(min_value=0, max_value=10))
def test_a_206_has_every_requested_byte_once_and_at_its_offset(
    spans: list[Span], length: int
) -> None:
    asked = Asked("GET", None, None, None, None, None, spans)
    status, headers, body = replied(asked, Held(None, None, 0, length))
    if status != 206:
        return
    sent = [
        (first + offset, octet)
        for first, content in sent_parts(headers, body)
        for offset, octet in enumerate(content)
    ]
    wanted = {position for span in spans for position in span.positions(length)}
    assert sorted(sent) == [(position, BODY[position]) for position in sorted(wanted)]


# The same through an application


ASKING = st.tuples(st.sampled_from(["GET", "GET", "HEAD", "PUT"]), SOUP)


@given(st.lists(ASKING, min_size=5, max_size=20))
@settings(max_examples=15)
def test_no_header_of_a_client_gives_a_500(requests: list[tuple[str, Headers]]) -> None:
    app = caching_app()

    @app.get("/tea")
    async def read() -> Annotated[str, Cached(60)]:
        return "tea"

    @app.put("/tea")
    async def write() -> Annotated[str, CachePut(preconditions=True)]:
        return "tea"

    async def statuses() -> set[int]:
        async with app.router.lifespan_context(app) as state:
            return {await status_of(app, *one, dict(state or {})) for one in requests}

    assert asyncio.run(statuses()) <= {200, 206, 304, 412, 416, 504}


async def status_of(app: FastAPI, method: str, headers: Headers, state: dict[str, Any]) -> int:
    """Status of a request with header lines that no client library would send."""
    sent: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message.get("status", 0))

    place: Scope = {"type": "http", "method": method, "path": "/tea", "raw_path": b"/tea"}
    rest: Scope = {"query_string": b"", "root_path": "", "state": state, "headers": list(headers)}
    await app({**place, **rest}, receive, send)
    return sent[0]
