"""Checks made once after start-up, in the background: one log line for each problem.

Start-up neither waits for them nor fails because of them. If Redis is unreachable, the breaker logs
that; it opens here instead of at the first request.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, Final

from .._engine.engine import Engine
from .._redis.server import Memory, memory_in, questions, refusals_in
from .._routes.registry import Registry
from ..exceptions import CacheUnavailableError
from ..settings import RedisSettings

logger = logging.getLogger("redis_fastapi")

_PATIENCE_SECONDS: Final = 5.0
"""How long the server may take to reply to all queries."""

_NAMED: Final = 3
"""Routes named in a log line; the others are counted."""

_WORKERS: Final = re.compile(r"(?:--workers|-w)(?:=|\s*)(\d+)")


def check_process(settings: RedisSettings) -> None:
    """Warn about problems of the process itself."""
    if settings.in_memory and (number := workers_of(sys.argv, os.environ)) > 1:
        logger.warning(
            "memory:// with %d workers: each has a cache of its own, and an eviction in one leaves "
            "the entries of the others. Use a Redis server, or one worker",
            number,
        )


def workers_of(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """The number of workers from the server's command line or environment; 1 by default."""
    option = _WORKERS.search(" ".join(argv[1:]))
    text = option[1] if option else environ.get("WEB_CONCURRENCY", "")
    return int(text) if text.isdecimal() else 1


async def check_server(engine: Engine, settings: RedisSettings, registry: Registry) -> None:
    """Warn about problems of the server; without a timely reply nothing is logged."""
    querying = engine.execute(questions(settings.prefix))
    with suppress(CacheUnavailableError, asyncio.TimeoutError):
        replies = await asyncio.wait_for(querying, _PATIENCE_SECONDS)
        for warning in _server_warnings(replies, settings, registry):
            logger.warning("Redis at %s %s", settings.location, warning)


def _server_warnings(
    replies: Sequence[Any], settings: RedisSettings, registry: Registry
) -> Iterator[str]:
    yield from rights_warning(refusals_in(replies), settings.prefix)
    memory = memory_in(replies)
    if memory is not None:
        endless = tuple(endless_reads(registry, default_ttl=settings.default_ttl))
        yield from memory_warning(memory, endless)


def endless_reads(registry: Registry, *, default_ttl: int) -> Iterator[str]:
    """Labels of the cached GETs whose entries have no ttl."""
    for _, read in registry.reads:
        if read.uncacheable is None and not (read.ttl or default_ttl):
            yield read.label


def memory_warning(memory: Memory, endless: Sequence[str]) -> Iterator[str]:
    """Warn about entries without a ttl on a server that does not evict keys when it is full."""
    if not endless or memory.makes_room:
        return
    if memory.most_bytes:
        limit = f"does not make room when it is full (maxmemory-policy {memory.policy})"
    else:
        limit = "has no maxmemory"
    yield (
        f"{limit}, and entries of {_list(endless)} have no ttl: they stay for 30 days, and a full "
        "memory stores nothing. Say ttl=..., or set maxmemory and maxmemory-policy allkeys-lru"
    )


def _list(labels: Sequence[str]) -> str:
    more = len(labels) - _NAMED
    return ", ".join(chain(labels[:_NAMED], (f"{more} more",) if more > 0 else ()))


def rights_warning(refused: Mapping[str, str], prefix: str) -> Iterator[str]:
    """Warn about commands that the ACL user may not send."""
    if refused:
        yield (
            f"does not permit {', '.join(refused)} to this user ({next(iter(refused.values()))}): "
            f"nothing is cached. Allow ~{prefix}:* {_granted(refused)}"
        )


def _granted(commands: Iterable[str]) -> str:
    return " ".join(f"+{name.lower()}" for name in commands)
