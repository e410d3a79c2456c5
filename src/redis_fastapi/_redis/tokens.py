"""Generation tokens, and the validity and lease values made of them.

A token has two halves of random bytes. An eviction removes the token; a soft eviction replaces its
second half only. An entry's validity is its shape and the tokens it was computed under: if these
are the current ones the entry is current, if only second halves differ it is outdated, and
otherwise it is evicted. A lease's value is its kind, random bytes, and the validity under which its
holder computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from .keys import Target

SHAPE_SIZE = 8
HARD_SIZE = 8
SOFT_SIZE = 8
TOKEN_SIZE = HARD_SIZE + SOFT_SIZE
NONCE_SIZE = 8
LEASE_HEAD_SIZE = 1 + NONCE_SIZE

READER = b"r"
WRITER = b"w"
PASS = b"p"
"""Kind of a lease that nobody holds: readers do not wait for each other while it lasts."""


def validity_of(target: Target, tokens: Sequence[bytes | None]) -> bytes | None:
    """The validity of the target's entry under these tokens; None if a generation is missing."""
    if None in tokens:
        return None
    return b"".join((target.shape, *cast("Sequence[bytes]", tokens)))


def tokens_of(validity: bytes) -> list[bytes]:
    """The tokens of a validity, in the order of its target's generations."""
    starts = range(SHAPE_SIZE, len(validity), TOKEN_SIZE)
    return [validity[at : at + TOKEN_SIZE] for at in starts]


def softly_evicted(stored: bytes, current: bytes) -> bool:
    """Whether a validity differs from the current one at most in the second halves of tokens."""
    if len(stored) != len(current) or stored[:SHAPE_SIZE] != current[:SHAPE_SIZE]:
        return False
    starts = range(SHAPE_SIZE, len(current), TOKEN_SIZE)
    return all(stored[at : at + HARD_SIZE] == current[at : at + HARD_SIZE] for at in starts)


def lease_value(kind: bytes, nonce: bytes, validity: bytes) -> bytes:
    """The value of a lease whose holder computes under `validity`; `nonce` is 8 random bytes."""
    return kind + nonce + validity


def lease_kind(value: bytes) -> bytes:
    """READER, WRITER or PASS."""
    return value[:1]


def lease_nonce(value: bytes) -> bytes:
    """The random bytes that distinguish this lease from any other."""
    return value[1:LEASE_HEAD_SIZE]


def lease_validity(value: bytes) -> bytes:
    """The validity under which the holder of this lease computes."""
    return value[LEASE_HEAD_SIZE:]


def pass_after(value: bytes) -> bytes:
    """The value that replaces a lease so that later readers do not wait for each other."""
    return PASS + value[1:]
