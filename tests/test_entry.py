"""The stored form of a response: what goes in comes out, and nothing that is damaged does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redis_fastapi._redis.entry import (
    MARK_AT,
    MARKED,
    Entry,
    decode,
    decode_outdated,
    encode,
    head_size,
    is_current,
    stored_of,
)

TOKENS = (b"token--1soft---1", b"token--2soft---2")
VALIDITY = b"shape--1" + b"".join(TOKENS)
ENTRY = Entry(200, ((b"content-type", b"text/plain"), (b"x-empty", b"")), b"body", 1_000, 2_000)

header_values = st.binary(max_size=40).map(lambda v: v.replace(b"\r", b"").replace(b"\n", b""))
header_names = st.from_regex(rb"\A[!-9;-~]{1,20}\Z")
entries = st.builds(
    Entry,
    status=st.integers(100, 999),
    headers=st.lists(st.tuples(header_names, header_values), max_size=6).map(tuple),
    body=st.binary(max_size=200),
    created_ms=st.integers(0, 2**63),
    fresh_ms=st.integers(0, 2**63),
    revalidate_ms=st.integers(0, 2**63),
    error_ms=st.integers(0, 2**63),
    cost_ms=st.integers(0, 2**32 - 1),
)
validities = st.binary(max_size=64)


@given(entries, validities)
def test_an_entry_comes_back_as_it_was(entry: Entry, validity: bytes) -> None:
    raw = encode(entry, validity)
    assert decode(raw, validity) == entry
    assert is_current(raw[: head_size(len(validity))], validity)


@given(entries, validities, validities)
def test_an_entry_of_another_validity_is_none(entry: Entry, one: bytes, other: bytes) -> None:
    raw = encode(entry, one)
    assert (decode(raw, other) is not None) == (one == other)
    assert is_current(raw, other) == (one == other)


@given(entries, validities, st.data())
def test_a_truncated_entry_is_none(entry: Entry, validity: bytes, data: st.DataObject) -> None:
    raw = encode(entry, validity)
    cut = raw[: data.draw(st.integers(0, len(raw) - 1))]
    assert decode(cut, validity) is None


@given(entries, st.binary(max_size=300), st.data())
def test_a_known_entry_gives_only_the_body_of_an_equal_entry(
    entry: Entry, body: bytes, data: st.DataObject
) -> None:
    known = stored_of(encode(entry, VALIDITY), TOKENS)
    assert known is not None
    other = bytearray(encode(entry._replace(body=body), VALIDITY))
    for position in data.draw(st.lists(st.integers(0, len(other) - 1), max_size=1)):
        other[position] ^= 1
    found = known.body_in(bytes(other), TOKENS)
    if found is not None:
        assert decode(bytes(other), VALIDITY) == entry._replace(body=found)


def test_a_known_entry_needs_equal_tokens_and_every_byte() -> None:
    raw = encode(ENTRY, VALIDITY)
    known = stored_of(raw, TOKENS)
    assert known is not None
    assert known.body_in(raw, TOKENS) == ENTRY.body
    assert known.body_in(raw, (TOKENS[0], None)) is None
    assert known.body_in(raw, TOKENS[::-1]) is None
    assert known.body_in(raw[:-1], TOKENS) is None
    assert known.body_in(None, TOKENS) is None


def test_a_missing_or_compressed_entry_is_never_a_known_one() -> None:
    raw = encode(ENTRY._replace(body=b"x" * 4_096), VALIDITY, compress=lambda body: body[:9])
    assert stored_of(raw, TOKENS) is None
    assert stored_of(None, TOKENS) is None


def test_an_entry_with_bytes_after_its_end_is_none() -> None:
    assert decode(encode(ENTRY, VALIDITY) + b"x", VALIDITY) is None


@pytest.mark.parametrize("bit", range(8))
def test_an_entry_with_a_flipped_bit_is_none(bit: int) -> None:
    whole = encode(ENTRY, VALIDITY)
    known = stored_of(whole, TOKENS)
    assert known is not None
    for position in range(len(whole)):
        raw = bytearray(whole)
        raw[position] ^= 1 << bit
        assert decode(bytes(raw), VALIDITY) is None
        assert known.body_in(bytes(raw), TOKENS) is None
        # one bit of the mark, or of a token, is what a soft eviction changes
        assert decode_outdated(bytes(raw), VALIDITY) in (None, ENTRY)
        is_current(bytes(raw), VALIDITY)


@given(st.data())
def test_an_entry_with_several_changed_bytes_is_none(data: st.DataObject) -> None:
    whole = encode(ENTRY, VALIDITY)
    raw = bytearray(whole)
    at = data.draw(st.integers(0, len(raw) - 1))
    damage = data.draw(st.binary(min_size=1, max_size=len(raw) - at))
    raw[at : at + len(damage)] = damage
    assert decode(bytes(raw), VALIDITY) == (ENTRY if raw == whole else None)


@given(st.integers(0, len(VALIDITY) - 1), st.integers(0, 7))
def test_a_flipped_bit_of_the_validity_is_none(position: int, bit: int) -> None:
    raw = bytearray(encode(ENTRY, VALIDITY))
    raw[head_size(0) + position] ^= 1 << bit
    assert decode(bytes(raw), VALIDITY) is None


@given(st.binary(max_size=200), validities)
def test_foreign_bytes_never_raise(raw: bytes, validity: bytes) -> None:
    decode(raw, validity)
    decode_outdated(raw, validity)
    is_current(raw, validity)


@pytest.mark.parametrize("position", [0, 6], ids=["version", "flags"])
def test_an_entry_of_another_version_or_with_unknown_flags_is_none(position: int) -> None:
    raw = bytearray(encode(ENTRY, VALIDITY))
    raw[position] += 2
    assert decode(bytes(raw), VALIDITY) is None
    assert not is_current(bytes(raw), VALIDITY)


@pytest.mark.parametrize("status", [0, 99, 1_000, 2**16 - 1])
def test_an_entry_with_an_invalid_status_is_none(status: int) -> None:
    raw = encode(ENTRY._replace(status=status), VALIDITY)
    assert decode(raw, VALIDITY) is None


def test_a_mark_outdates_an_entry() -> None:
    raw = encode(ENTRY, VALIDITY)
    marked = raw[:MARK_AT] + MARKED + raw[MARK_AT + 1 :]
    assert decode_outdated(raw, VALIDITY) is None
    assert (decode(marked, VALIDITY), decode_outdated(marked, VALIDITY)) == (None, ENTRY)
    assert not is_current(marked, VALIDITY)


@pytest.mark.parametrize(
    ("stored", "outdated"),
    [
        (b"shape--1" + b"token--1soft---x" + b"token--2soft---2", True),
        (b"shape--1" + b"token--1soft---x" + b"token--2soft---y", True),
        (b"shape--1" + b"token--xsoft---1" + b"token--2soft---2", False),
        (b"shape--1" + b"token--1soft---1" + b"token--xsoft---2", False),
        (b"shape--x" + b"token--1soft---1" + b"token--2soft---2", False),
        (b"shape--1" + b"token--1soft---1", False),
    ],
    ids=["one-soft", "all-soft", "first-hard", "second-hard", "shape", "fewer-groups"],
)
def test_an_entry_is_outdated_where_only_second_halves_of_tokens_differ(
    stored: bytes, outdated: bool
) -> None:
    raw = encode(ENTRY, stored)
    assert decode(raw, VALIDITY) is None
    assert decode_outdated(raw, VALIDITY) == (ENTRY if outdated else None)


def test_an_entry_is_kept_for_the_longer_of_its_windows() -> None:
    entry = ENTRY._replace(revalidate_ms=500, error_ms=3_000)
    assert entry.kept_ms(1_500) == 4_500
    assert entry.kept_ms(9_000) == 1
    assert entry._replace(fresh_ms=0).kept_ms(9_000) is None


def test_validities_of_other_lengths_never_agree() -> None:
    raw = encode(ENTRY, VALIDITY)
    assert decode(raw, VALIDITY[:-1]) is None
    assert decode(raw, VALIDITY + raw[head_size(len(VALIDITY)) :][:1]) is None


@pytest.mark.parametrize(
    "header",
    [
        (b"x", b"a\r\nset-cookie: b"),
        (b"x", b"a\nb"),
        (b"x\r\ny", b"a"),
        (b"x:y", b"a"),
        (b"", b"a"),
    ],
)
def test_a_header_that_would_break_the_block_is_refused(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(ValueError, match="cannot be stored"):
        encode(ENTRY._replace(headers=(header,)), VALIDITY)


@pytest.mark.parametrize("field", [{"status": -1}, {"status": 70_000}, {"created_ms": -1}])
def test_a_number_that_does_not_fit_is_refused(field: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="out of range"):
        encode(Entry(**{**ENTRY._asdict(), **field}), VALIDITY)
