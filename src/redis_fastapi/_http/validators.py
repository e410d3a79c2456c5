"""Entity tags and modification dates, and their comparison (RFC 9110 section 8.8)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from .dates import http_date_ms
from .fields import Headers, field_lines, singleton

_OPAQUE = rb'"([\x21\x23-\x7e\x80-\xff]*)"'
_ENTITY_TAG: Final = re.compile(rb"(W/)?" + _OPAQUE)
_LISTED_TAG: Final = re.compile(rb"[ \t]*(W/)?" + _OPAQUE + rb"[ \t]*(?:,|\Z)")


@dataclass(frozen=True, slots=True)
class EntityTag:
    """An entity tag without its quotes (RFC 9110 section 8.8.3)."""

    opaque: bytes
    weak: bool = False

    def weakly_equals(self, other: EntityTag) -> bool:
        """Whether the opaque parts are equal, weak or not (RFC 9110 section 8.8.3.2)."""
        return self.opaque == other.opaque

    def strongly_equals(self, other: EntityTag) -> bool:
        """Whether the opaque parts are equal and neither is weak (RFC 9110 section 8.8.3.2)."""
        return self.opaque == other.opaque and not self.weak and not other.weak


@dataclass(frozen=True, slots=True)
class TagList:
    """The value of If-Match or If-None-Match.

    Attributes:
        tags: The listed entity tags.
        any: Whether the value is ``*``, which matches any representation.
    """

    tags: tuple[EntityTag, ...] = ()
    any: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """The validators of a representation; times are milliseconds since 1970.

    Attributes:
        etag: Its entity tag.
        last_modified_ms: Its Last-Modified.
        received_ms: When the cache received it; replaces a missing Last-Modified when compared with
            If-Modified-Since (RFC 9111 section 4.3.2), and determines whether Last-Modified is a
            strong validator (RFC 9110 section 8.8.2.2).
    """

    etag: EntityTag | None = None
    last_modified_ms: int | None = None
    received_ms: int | None = None


def etag_for(body: bytes) -> bytes:
    """Return a digest of the body as a strong ETag value, including quotes."""
    return b'"%b"' % blake2b(body, digest_size=16).hexdigest().encode()


def validators_of(headers: Headers, *, now_ms: int, received_ms: int | None = None) -> Validators:
    """Parse the validators of a response; malformed or repeated ones count as absent."""
    etag = singleton(headers, b"etag")
    return Validators(
        etag=None if etag is None else parse_etag(etag),
        last_modified_ms=date_field_ms(headers, b"last-modified", now_ms=now_ms),
        received_ms=received_ms,
    )


def parse_etag(value: bytes) -> EntityTag | None:
    """Parse one entity tag; None if the value is malformed."""
    match = _ENTITY_TAG.fullmatch(value)
    return EntityTag(match[2], weak=match[1] is not None) if match else None


def tag_list(headers: Headers, name: bytes) -> TagList | None:
    """Parse If-Match or If-None-Match without malformed elements; None if the field is absent."""
    lines = field_lines(headers, name)
    if not lines:
        return None
    if b"*" in lines:
        return TagList(any=True)
    return TagList(tuple(tag for line in lines for tag in _listed_tags(line)))


def date_field_ms(headers: Headers, name: bytes, *, now_ms: int) -> int | None:
    """Parse a field with one HTTP-date; None if it is absent, repeated or malformed."""
    value = singleton(headers, name)
    return None if value is None else http_date_ms(value, now_ms=now_ms)


def _listed_tags(line: bytes) -> list[EntityTag]:
    tags: list[EntityTag] = []
    position = 0
    while 0 <= position < len(line):
        if match := _LISTED_TAG.match(line, position):
            tags.append(EntityTag(match[2], weak=match[1] is not None))
            position = match.end()
        else:
            position = line.find(b",", position) + 1 or -1
    return tags
