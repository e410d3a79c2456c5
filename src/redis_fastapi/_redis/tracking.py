"""Changes in all of Redis: one tracker per primary, and what they report together.

- Changes are tracked while every primary that the client knows reports them. A read that went to
  another server, or was redirected by one, ends that until there is a tracker for it.
- A server that refuses (its rights, its version, a script that blocks it) is tried again after a
  pause. One log line says that tracking is refused, and one that it works again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import ResponseError

from .._background import cancel
from .changes import Changes
from .keys import tracked, tracked_name
from .shared_transport import clone
from .tracker import Tracker
from .transport import Connection, timeout_at

logger = logging.getLogger("redis_fastapi")

_SILENCE_SECONDS = 1.0

_TOPOLOGY_SECONDS = 1.0
"""Interval between checks of which primaries a cluster's client knows."""

_REFUSED_SECONDS = 15.0
"""Pause before a server that has refused is tried again."""

_ALONE = ""
"""Name of the only server if there is no cluster."""


class _Tracked(NamedTuple):
    tracker: Tracker
    task: asyncio.Task[ResponseError]


class Tracking:
    """One tracker per primary, by name, and what they report together.

    Args:
        client: Supplies addresses and credentials.
        changes: Receives what they report.
        prefix: First part of every key.
        name: The server in log lines, without secrets.
        silence: Seconds without a message after which a PING is sent; after twice that the
            connection is given up.
        sleep: Sleeps that many seconds after a refusal.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        changes: Changes,
        *,
        prefix: str,
        name: str,
        silence: float = _SILENCE_SECONDS,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._changes = changes
        self._prefix = prefix
        self._name = name
        self._silence = silence
        self._sleep = sleep
        self._refused = ""
        self._tracked: dict[str, _Tracked] = {}
        self._wake = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._retired: set[asyncio.Task[ResponseError]] = set()

    def start(self) -> None:
        """Start tracking, in the background."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    def read_from(self, node: str | None) -> None:
        """Note where the cache reads: a primary by name, or None if it is an unknown one."""
        if node is not None and self._is_tracked(node):
            return
        self._changes.end()
        if not isinstance(self._client, RedisCluster):
            self._retire(_ALONE)
        self._wake.set()

    async def aclose(self) -> None:
        """Stop tracking and close the connections."""
        keeper = () if self._keeper is None else (self._keeper,)
        tasks = (*keeper, *(one.task for one in self._tracked.values()), *self._retired)
        await cancel(*tasks)

    async def _keep(self) -> None:
        while True:
            self._report_refused(str(await self._track_until_refused()))
            await self._sleep(_REFUSED_SECONDS)

    async def _track_until_refused(self) -> ResponseError:
        """Keep one tracker for each current primary, until one of them refuses."""
        while (refusal := self._refusal()) is None:
            self._wake.clear()
            self._cover(await self._primaries())
            await self._wait()
        for name in list(self._tracked):
            self._retire(name)
        self._update_changes()
        return refusal

    def _report_refused(self, refusal: str) -> None:
        if refusal != self._refused:
            self._refused = refusal
            logger.warning(
                "nothing is kept in this process: Redis at %s does not report changes: %s",
                self._name,
                refusal,
                extra={"redis": self._name},
            )

    def _report_tracking(self) -> None:
        if self._refused:
            self._refused = ""
            message = "entries are kept in this process: Redis at %s reports changes"
            logger.warning(message, self._name, extra={"redis": self._name})

    async def _primaries(self) -> dict[str, Callable[[], Connection]]:
        if not isinstance(self._client, RedisCluster):
            pool = self._client.connection_pool
            return {_ALONE: partial(clone, pool.connection_class, pool.connection_kwargs)}
        with suppress(Exception):  # a cluster client fails in ways of its own
            await self._client.initialize()
        return {
            node.name: partial(clone, node.connection_class, node.connection_kwargs)
            for node in self._client.get_primaries()
        }

    def _cover(self, primaries: dict[str, Callable[[], Connection]]) -> None:
        for name in self._tracked.keys() - primaries.keys():
            self._retire(name)
        for name in primaries.keys() - self._tracked.keys():
            self._track(name, primaries[name])
        self._update_changes()

    async def _wait(self) -> None:
        now = asyncio.get_running_loop().time()
        with suppress(asyncio.TimeoutError):
            async with timeout_at(now + _TOPOLOGY_SECONDS):
                await self._wake.wait()

    def _track(self, name: str, make: Callable[[], Connection]) -> None:
        tracker = Tracker(
            make,
            prefixes=tracked(self._prefix),
            changed=self._changed,
            switched=self._update_changes,
            silence=self._silence,
        )
        task = asyncio.get_running_loop().create_task(tracker.run())
        task.add_done_callback(lambda _: self._wake.set())
        self._tracked[name] = _Tracked(tracker, task)

    def _retire(self, name: str) -> None:
        one = self._tracked.pop(name, None)
        if one is not None:
            self._retired.add(one.task)
            one.task.add_done_callback(self._retired.discard)
            one.task.cancel()

    def _is_tracked(self, name: str) -> bool:
        one = self._tracked.get(name)
        return one is not None and one.tracker.is_tracking

    def _update_changes(self) -> None:
        """Start or stop tracking: it is on while every known primary reports changes."""
        if self._tracked and all(map(self._is_tracked, self._tracked)):
            self._changes.begin()
            self._report_tracking()
        else:
            self._changes.end()

    def _changed(self, key: bytes | None) -> None:
        if key is None:
            self._changes.all_changed()
        elif name := tracked_name(key, self._prefix):
            self._changes.changed(name)

    def _refusal(self) -> ResponseError | None:
        ended = (one.task for one in self._tracked.values() if one.task.done())
        return next((task.result() for task in ended), None)
