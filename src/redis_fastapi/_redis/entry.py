"""The stored form of a response; no other module depends on its layout.

An entry consists of a fixed head, the validity under which it was filled, a header block and the
body. Decoding requires the current validity, and returns None if the bytes are corrupt or have
another one. A soft eviction outdates an entry, by a mark in its head or by the tokens of its
validity.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple
from zlib import crc32

from .compression import Compress, decompressed
from .tokens import softly_evicted

_VERSION = 3
_PLAIN = 0
_ZSTD = 1
"""Flags: how the body is stored; an entry with an unknown one is a miss."""

_LEAST_COMPRESSED = 2 * 1024
"""Body size in bytes from which compression is worth its cost."""

_LINE_BREAK = b"\r\n"
"""Separates names and values in the header block; neither may contain CR or LF."""

MARK_AT = 1
"""Offset of the mark that a soft eviction of this single entry sets."""

_UNMARKED = 0
MARKED = b"\x01"

_MOST_COST_MS = 2**32 - 1

_STATUSES = range(100, 1_000)
"""Three-digit status codes; any other number means corruption."""

_HEADS_KNOWN = _BLOCKS_KNOWN = 256
"""Heads and header blocks memoized in their decoded form, for entries that are read often."""

_HEAD = struct.Struct(">BBIBHHIIIQQQQ")
"""Version, mark, checksum, flags, status; lengths of validity, header block and body in bytes; then
`cost_ms`, `created_ms`, `fresh_ms`, `revalidate_ms` and `error_ms`.
"""

_CHECKSUM = struct.Struct(">I")
_CHECKSUM_AT = 2
_CHECKED_AT = _CHECKSUM_AT + _CHECKSUM.size
"""Start of what the checksum covers: everything from here except for the validity."""


class Entry(NamedTuple):
    """A response that can be replayed.

    Attributes:
        status: Status code.
        headers: Field names and values in order, without line breaks.
        body: The representation's bytes.
        created_ms: When the response was generated, in milliseconds since 1970.
        fresh_ms: Freshness lifetime in milliseconds from `created_ms`; 0 means no expiry.
        revalidate_ms: Milliseconds after its expiry in which it may be sent while it is refreshed.
        error_ms: Milliseconds after its expiry in which it may be sent in place of an error.
        cost_ms: How long computing it took, in milliseconds.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    created_ms: int
    fresh_ms: int
    revalidate_ms: int = 0
    error_ms: int = 0
    cost_ms: int = 0

    def is_fresh(self, now_ms: int) -> bool:
        """Whether its freshness lifetime has not ended."""
        return not self.fresh_ms or now_ms < self.created_ms + self.fresh_ms

    def staleness_ms(self, now_ms: int) -> int:
        """Milliseconds since its freshness lifetime ended; 0 while it has not."""
        return max(0, now_ms - self.created_ms - self.fresh_ms) if self.fresh_ms else 0

    def kept_ms(self, now_ms: int) -> int | None:
        """Milliseconds from now for which to store it, at least 1; None means no expiry."""
        if not self.fresh_ms:
            return None
        windows = max(self.revalidate_ms, self.error_ms)
        return max(1, self.created_ms + self.fresh_ms + windows - now_ms)


class Stored(NamedTuple):
    """The stored form of an entry without its body, to recognise the entry by comparison.

    Attributes:
        tokens: Its generations' tokens when it was read.
        head: All bytes before its body.
        size: Its size in bytes, including the body.
        checksum: The CRC-32 of everything but its validity.
        checksum_before: The CRC-32 of the same part, up to its body.
    """

    tokens: tuple[bytes | None, ...]
    head: bytes
    size: int
    checksum: int
    checksum_before: int

    def body_in(self, raw: bytes | None, tokens: tuple[bytes | None, ...]) -> bytes | None:
        """The body in `raw`, if that is the same entry under the same tokens; otherwise None."""
        head = self.head
        if raw is None or len(raw) != self.size or tokens != self.tokens:
            return None
        if not raw.startswith(head):
            return None
        body = raw[len(head) :]
        return body if crc32(body, self.checksum_before) == self.checksum else None


def stored_of(raw: bytes | None, tokens: tuple[bytes | None, ...]) -> Stored | None:
    """The stored form of an entry that was valid under these tokens; None if it is compressed."""
    if raw is None:
        return None
    head = _known_or_none(raw[: _HEAD.size])
    if head is None or head.flags != _PLAIN:
        return None
    block_at = head_size(head.validity_size)
    body_at = block_at + head.block_size
    before = crc32(raw[block_at:body_at], head.own_checksum)
    return Stored(tokens, raw[:body_at], len(raw), head.checksum, before)


def encode(entry: Entry, validity: bytes, compress: Compress | None = None) -> bytes:
    """The stored form of an entry that is valid under `validity`.

    Raises:
        ValueError: If a header field cannot be stored, or a number is out of range.
    """
    flags, body = _packed(entry, compress) if compress else (_PLAIN, entry.body)
    block = _block(entry.headers)
    try:
        head = _HEAD.pack(
            *(_VERSION, _UNMARKED, 0, flags, entry.status),
            *(len(validity), len(block), len(body), min(entry.cost_ms, _MOST_COST_MS)),
            *(entry.created_ms, entry.fresh_ms, entry.revalidate_ms, entry.error_ms),
        )
    except struct.error as error:
        raise ValueError(f"entry field out of range: {error}") from error
    checksum = _CHECKSUM.pack(crc32(body, crc32(block, _checksum_of_head(head))))
    return b"".join((head[:_CHECKSUM_AT], checksum, head[_CHECKED_AT:], validity, block, body))


def _checksum_of_head(fixed: bytes) -> int:
    return crc32(fixed[_CHECKED_AT:])


def _packed(entry: Entry, compress: Compress) -> tuple[int, bytes]:
    """Flags and body, which is not compressed if that saves nothing."""
    encoded = any(name == b"content-encoding" for name, _ in entry.headers)
    if encoded or len(entry.body) < _LEAST_COMPRESSED:
        return _PLAIN, entry.body
    packed = compress(entry.body)
    return (_ZSTD, packed) if len(packed) < len(entry.body) else (_PLAIN, entry.body)


def _block(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    for name, _ in headers:
        if not name or b":" in name:
            raise ValueError(f"header name {name!r} cannot be stored")
    # one count over the whole block: more line breaks than separators mean one within a part
    parts = [part for pair in headers for part in pair]
    block = _LINE_BREAK.join(parts)
    between = max(0, len(parts) - 1)
    if block.count(b"\r") != between or block.count(b"\n") != between:
        names = b", ".join(name for name, _ in headers)
        raise ValueError(f"one of the headers {names!r} cannot be stored: it contains a line break")
    return block


def decode(raw: bytes, validity: bytes) -> Entry | None:
    """The entry; None if it is outdated, corrupt, or has another validity or version."""
    head = _head_or_none(raw, validity)
    if head is None or head.mark != _UNMARKED:
        return None
    return _entry_or_none(raw, head)


def decode_outdated(raw: bytes, validity: bytes) -> Entry | None:
    """The entry, if only soft evictions outdated it; otherwise None."""
    stored = raw[_HEAD.size : head_size(len(validity))]
    head = _head_or_none(raw, stored) if softly_evicted(stored, validity) else None
    if head is None or (head.mark == _UNMARKED and stored == validity):
        return None
    return _entry_or_none(raw, head)


def head_size(validity_size: int) -> int:
    """The number of leading bytes of an entry that `is_current` needs."""
    return _HEAD.size + validity_size


def is_current(head: bytes, validity: bytes) -> bool:
    """Whether an entry that begins with `head` is valid under `validity`; ignores its body."""
    found = _head_or_none(head, validity)
    return found is not None and found.mark == _UNMARKED


class _Head(NamedTuple):
    version: int
    mark: int
    checksum: int
    flags: int
    status: int
    validity_size: int
    block_size: int
    body_size: int
    cost_ms: int
    created_ms: int
    fresh_ms: int
    revalidate_ms: int
    error_ms: int
    own_checksum: int


def _head_or_none(raw: bytes, validity: bytes) -> _Head | None:
    if len(raw) < _HEAD.size or not raw.startswith(validity, _HEAD.size):
        return None
    head = _known_or_none(raw[: _HEAD.size])
    return head if head is not None and head.validity_size == len(validity) else None


@lru_cache(_HEADS_KNOWN)
def _known_or_none(fixed: bytes) -> _Head | None:
    head = _Head._make((*_HEAD.unpack(fixed), _checksum_of_head(fixed)))
    known = head.version == _VERSION and head.flags in (_PLAIN, _ZSTD) and head.status in _STATUSES
    return head if known else None


def _entry_or_none(raw: bytes, head: _Head) -> Entry | None:
    block_at = head_size(head.validity_size)
    if crc32(memoryview(raw)[block_at:], head.own_checksum) != head.checksum:
        return None
    body_at = block_at + head.block_size
    headers = _headers_or_none(raw[block_at:body_at])
    if headers is None or len(raw) != body_at + head.body_size:
        return None
    body = raw[body_at:] if head.flags == _PLAIN else decompressed(raw[body_at:])
    if body is None:
        return None
    times = (head.created_ms, head.fresh_ms, head.revalidate_ms, head.error_ms, head.cost_ms)
    return Entry(head.status, headers, body, *times)


@lru_cache(_BLOCKS_KNOWN)
def _headers_or_none(block: bytes) -> tuple[tuple[bytes, bytes], ...] | None:
    if not block:
        return ()
    parts = block.split(_LINE_BREAK)
    if len(parts) % 2:
        return None
    return tuple(zip(parts[::2], parts[1::2], strict=True))
