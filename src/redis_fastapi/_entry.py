"""The stored form of a response; the only module that knows its bytes.

An entry is a fixed head, the validity it was filled under, a header block and the body. Whoever
reads it says which validity is current, and gets nothing if the bytes are not whole or of another.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

_VERSION = 1
_NO_FLAGS = 0
"""Flags are for later forms (a compressed body, a marker without one); unknown ones are a miss."""

_HEAD = struct.Struct(">BBHHIIQQ")
"""Version, flags, status, length of validity, of header block and of body, created_ms, fresh_ms."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A response that can be replayed.

    Attributes:
        status: Status code.
        headers: Names and values in order, without line breaks.
        body: The representation's bytes.
        created_ms: When the response was made, in milliseconds since 1970.
        fresh_ms: Freshness lifetime in milliseconds from `created_ms`; 0 is no expiry.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    created_ms: int
    fresh_ms: int


def encode(entry: Entry, validity: bytes) -> bytes:
    """Bytes of an entry that counts while `validity` is current; ValueError if they cannot be."""
    block = b"\r\n".join(_header_line(name, value) for name, value in entry.headers)
    try:
        head = _HEAD.pack(
            *(_VERSION, _NO_FLAGS, entry.status, len(validity), len(block), len(entry.body)),
            *(entry.created_ms, entry.fresh_ms),
        )
    except struct.error as error:
        raise ValueError(f"entry field out of range: {error}") from error
    return b"".join((head, validity, block, entry.body))


def _header_line(name: bytes, value: bytes) -> bytes:
    if not name or b":" in name:
        raise ValueError(f"header name {name!r} cannot be stored")
    line = name + b": " + value
    if b"\r" in line or b"\n" in line:
        raise ValueError(f"header {name!r} cannot be stored: it contains a line break")
    return line


def decode(raw: bytes, validity: bytes) -> Entry | None:
    """The entry, or None when of another validity or version, truncated or corrupt."""
    head = _head_or_none(raw, validity)
    if head is None:
        return None
    block_at = head_size(len(validity))
    body_at = block_at + head.block_size
    headers = _headers_or_none(raw[block_at:body_at])
    if headers is None or len(raw) != body_at + head.body_size:
        return None
    return Entry(head.status, headers, raw[body_at:], head.created_ms, head.fresh_ms)


def head_size(validity_size: int) -> int:
    """How many first bytes of an entry `is_current` needs."""
    return _HEAD.size + validity_size


def is_current(head: bytes, validity: bytes) -> bool:
    """Whether an entry that begins with `head` counts under `validity`, whatever its body."""
    return _head_or_none(head, validity) is not None


class _Head(NamedTuple):
    version: int
    flags: int
    status: int
    validity_size: int
    block_size: int
    body_size: int
    created_ms: int
    fresh_ms: int


def _head_or_none(raw: bytes, validity: bytes) -> _Head | None:
    size = head_size(len(validity))
    if len(raw) < size or raw[_HEAD.size : size] != validity:
        return None
    head = _Head._make(_HEAD.unpack_from(raw))
    known = head.version == _VERSION and head.flags == _NO_FLAGS
    return head if known and head.validity_size == len(validity) else None


def _headers_or_none(block: bytes) -> tuple[tuple[bytes, bytes], ...] | None:
    if not block:
        return ()
    parts = [line.partition(b": ") for line in block.split(b"\r\n")]
    if not all(separator for _, separator, _ in parts):
        return None
    return tuple((name, value) for name, _, value in parts)
