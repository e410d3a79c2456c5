"""Generation tokens, and the validity that is made of them.

A token has two halves of random bytes. An eviction removes the token and with it both; a soft
eviction replaces the second half only. An entry's validity is its shape and the tokens it was
computed under: where they are the current ones the entry is current, where only second halves
differ it is outdated, and otherwise it is gone.
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
    """Whether a validity is the current one but for the second halves of its tokens."""
    if len(stored) != len(current) or stored[:SHAPE_SIZE] != current[:SHAPE_SIZE]:
        return False
    starts = range(SHAPE_SIZE, len(current), TOKEN_SIZE)
    return all(stored[at : at + HARD_SIZE] == current[at : at + HARD_SIZE] for at in starts)
