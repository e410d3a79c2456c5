"""Key names in Redis, injective by construction.

Every part that comes from a request is length-prefixed before it is hashed, so no choice of values
lets two different requests share a key, and no client-supplied value appears in a key as text.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

EPOCH = "g:"
"""The generation that every entry belongs to; evicting it evicts the whole cache."""

_PATH = "p:"

_ENTRY = "e:"

_LONGEST_GROUP_NAME = 128
"""Bytes up to which a group's name appears in its Redis key as it is."""


@dataclass(frozen=True, slots=True)
class Target:
    """What one lookup reads.

    Attributes:
        entry: 32 hex digits; the hash tag of the entry and of its lease.
        generations: Names of the generations the entry belongs to, in the order of their tokens.
        shape: 8 bytes; the route and model whose entries may be replayed.
    """

    entry: str
    generations: tuple[str, ...]
    shape: bytes

    def __hash__(self) -> int:
        # a text keeps its hash, a tuple of texts does not
        return hash(self.entry)

    def variant(self, selected: Iterable[str]) -> Target:
        """The target of a variant, which evicting the path reaches through its generation."""
        # without a path generation, the entry's digest is that of its path
        path = () if any(map(is_path_name, self.generations)) else (_PATH + self.entry,)
        entry = digest([self.entry, *selected])
        return Target(entry, (*self.generations, *path), self.shape)

    @property
    def names(self) -> tuple[str, ...]:
        """All names whose change affects the result of the lookup."""
        return (self.entry, *self.generations)


def digest(parts: Iterable[str], *, size: int = 16) -> str:
    """Hex digest of a sequence of texts; different sequences never give the same input to it."""
    hashed = blake2b(digest_size=size)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        hashed.update(b"%d:" % len(data))
        hashed.update(data)
    return hashed.hexdigest()


def group_name(group: str) -> str:
    """The generation name of a group; a long or non-ASCII group name becomes a digest."""
    if len(group) <= _LONGEST_GROUP_NAME and group.isascii():
        return f"g:n:{group}"
    return f"g:d:{digest([group])}"


def path_name(resource: str) -> str:
    """The generation name that all variants (query, header, user) of one resource share."""
    return f"{_PATH}{digest([resource])}"


def is_path_name(name: str) -> bool:
    """Whether a generation is that of a path."""
    return name.startswith(_PATH)


def tracked(prefix: str) -> tuple[bytes, ...]:
    """Prefixes of the Redis keys that a lookup reads."""
    return tuple(f"{prefix}:{kind}".encode() for kind in (_ENTRY, EPOCH, _PATH))


def tracked_name(key: bytes, prefix: str) -> str | None:
    """The entry's digest or the generation's name from a Redis key; None for any other key."""
    head, _, name = key.decode("utf-8", "replace").partition(f"{prefix}:")
    if head or not name.startswith((_ENTRY, EPOCH, _PATH)):
        return None
    return name[len(_ENTRY) :].strip("{}") if name.startswith(_ENTRY) else name


@dataclass(frozen=True, slots=True)
class Keyspace:
    """The names of Redis keys under one prefix; those of an entry share its digest as hash tag."""

    prefix: str

    def entry(self, entry: str) -> bytes:
        """Where the entry with this digest is stored."""
        return f"{self.prefix}:{_ENTRY}{{{entry}}}".encode()

    def lease(self, entry: str) -> bytes:
        """Where the lease to fill this entry is held."""
        return f"{self.prefix}:l:{{{entry}}}".encode()

    def staging(self, entry: str, nonce: bytes) -> bytes:
        """Where one fill puts the entry until it may be stored."""
        return f"{self.prefix}:s:{{{entry}}}:{nonce.hex()}".encode()

    def generation(self, name: str) -> bytes:
        """Where the token of this generation is stored."""
        return f"{self.prefix}:{name}".encode()

    def read(self, target: Target) -> tuple[bytes, ...]:
        """What a lookup of this target reads: its entry, then its generations."""
        return (self.entry(target.entry), *map(self.generation, target.generations))
