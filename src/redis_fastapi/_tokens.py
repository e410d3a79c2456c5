"""Generation tokens, and the validity made of them.

A token has two halves of random bytes. An eviction removes the token; a soft eviction replaces its
second half only. An entry's validity is its shape and the tokens it was computed under: if these
are the current ones the entry is current, if only second halves differ it is outdated, and
otherwise it is evicted.
"""

from __future__ import annotations

SHAPE_SIZE = 8
HARD_SIZE = 8
SOFT_SIZE = 8
TOKEN_SIZE = HARD_SIZE + SOFT_SIZE


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
