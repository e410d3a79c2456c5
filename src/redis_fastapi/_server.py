"""What a server says of itself: how it forgets, and what it refuses to this user.

Asked over the client's own connections, beside the requests.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import (
    NoPermissionError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

TROUBLE: Final = (RedisError, RedisClusterException, OSError, asyncio.TimeoutError)
"""What a client raises where there is no answer; a cluster's exception is no RedisError."""

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
"""What the cache sends, less the key; scripts and transactions stand in for each other."""


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
        """Whether it forgets keys when it is full; each key of the cache has an expiry."""
        return self.most_bytes > 0 and self.policy != "noeviction"


async def memory_of(client: Redis | RedisCluster) -> Memory | None:
    """How the server uses its memory; None where it does not say."""
    node: dict[str, Any] = {"target_nodes": "random"} if isinstance(client, RedisCluster) else {}
    try:
        found = await client.execute_command("INFO", "memory", **node)
        return Memory(
            used_bytes=int(found["used_memory"]),
            most_bytes=int(found["maxmemory"]),
            policy=str(found["maxmemory_policy"]),
        )
    except (ResponseError, KeyError):
        return None


async def refusals_of(client: Redis | RedisCluster, prefix: str) -> dict[str, str]:
    """The commands that the server does not permit on keys of the cache, and its words for it."""
    refused = {}
    for name, *arguments in _NEEDED:
        try:
            await client.execute_command(name, f"{prefix}:trial", *arguments)
        except NoPermissionError as error:
            refused[name] = str(error)
        except ResponseError:  # a server that is out of memory, or read-only for now
            continue
    return refused
