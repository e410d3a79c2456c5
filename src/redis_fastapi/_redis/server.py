"""Facts about a server: its memory policy, and the commands it refuses to this user."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from redis.exceptions import NoPermissionError, RedisClusterException, RedisError

from .transport import Command, keyed

TROUBLE: Final = (RedisError, RedisClusterException, OSError, asyncio.TimeoutError)
"""What a client raises if there is no reply; a cluster's exception is not a RedisError."""

_TRIAL_MS: Final = 1_000

_NEEDED: Final = (
    ("SET", b"", "PX", _TRIAL_MS),
    ("GET",),
    ("MGET",),
    ("GETRANGE", 0, 0),
    ("PTTL",),
    ("PEXPIRE", _TRIAL_MS),
    ("DEL",),
)
"""The commands that the cache needs, without the key; scripts and transactions are optional."""


@dataclass(frozen=True, slots=True)
class Memory:
    """How a server uses its memory.

    Attributes:
        used_bytes: What it uses.
        most_bytes: What it may use; 0 is all there is.
        policy: What it evicts when that is used up, as ``maxmemory-policy`` has it.
    """

    used_bytes: int
    most_bytes: int
    policy: str

    @property
    def makes_room(self) -> bool:
        """Whether it evicts keys when it is full; every key of the cache has an expiry."""
        return self.most_bytes > 0 and self.policy != "noeviction"


def questions(prefix: str) -> tuple[Command, ...]:
    """Commands whose replies contain all these facts."""
    key = f"{prefix}:trial".encode()
    trials = (keyed(name, key, *arguments) for name, *arguments in _NEEDED)
    return (*trials, Command(("INFO", "memory"), key))


def refusals_in(replies: Sequence[Any]) -> dict[str, str]:
    """The commands that the server does not permit on keys of the cache, with its messages."""
    return {
        str(command[0]): str(reply)
        for command, reply in zip(_NEEDED, replies, strict=False)
        if isinstance(reply, NoPermissionError)
    }


def memory_in(replies: Sequence[Any]) -> Memory | None:
    """How the server uses its memory; None if it does not say."""
    *_, info = replies
    if not isinstance(info, bytes):
        return None
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return memory_of({name: value for name, _, value in lines})


def memory_of(info: Mapping[str, Any]) -> Memory | None:
    """How the server uses its memory, from its INFO; None if that is incomplete."""
    try:
        return Memory(
            used_bytes=int(info["used_memory"]),
            most_bytes=int(info["maxmemory"]),
            policy=str(info["maxmemory_policy"]),
        )
    except (KeyError, ValueError):
        return None
