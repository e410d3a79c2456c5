"""Background runs that recompute entries which are stale, or about to expire.

- There is one run per entry at a time, across all processes: without its lease, a run does nothing.
- A run is a request of its own through the application, with its own dependencies. It has the path,
  headers and body of the request that was served, and nothing that request opened.
- A run that fails or stores nothing is not repeated immediately; all end with the application.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from typing import NamedTuple

from starlette.types import Scope

from .._background import cancel
from .._engine.engine import Engine
from .._engine.leases import Lease
from .._redis.entry import Entry
from .._redis.keys import Target
from .subrequests import send_subrequest, subrequest_scope

RERUN = "redis_fastapi_rerun"
"""Key in the scope of such a run of its `Rerun`."""

logger = logging.getLogger("redis_fastapi")

_MOST = 16
"""Concurrent runs of one application; beyond that, entries are not refreshed."""

_PAUSE_SECONDS = 1.0

_CLEANUP_SECONDS = 10.0
"""Time for dependencies to clean up when the application ends."""


class Refreshable(NamedTuple):
    """An entry to recompute.

    Attributes:
        route: The route in messages and logs.
        resource: The target at which a request for it starts its lookup.
        target: The target of the entry.
        entry: The entry.
    """

    route: str
    resource: Target
    target: Target
    entry: Entry


class Rerun:
    """The lease that a run computes under, and the resource it is for."""

    def __init__(self, resource: Target, lease: Lease) -> None:
        self._resource = resource
        self._lease = lease

    def lease_of(self, resource: Target) -> Lease | None:
        """The lease, if the run has reached the resource it is for."""
        return self._lease if resource == self._resource else None


class Refreshes:
    """The runs of one application.

    Args:
        most: Upper bound on concurrent runs.
        pause_seconds: Pause before an entry is recomputed again after a run that stored nothing.
    """

    def __init__(self, *, most: int = _MOST, pause_seconds: float = _PAUSE_SECONDS) -> None:
        self._most = most
        self._pause_seconds = pause_seconds
        self._busy: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def begin(
        self, engine: Engine, due: Refreshable, scope: Scope, body: bytes
    ) -> asyncio.Task[None] | None:
        """Start to recompute an entry, unless that is under way or there are too many runs.

        Args:
            engine: Of the cache.
            due: The entry.
            scope: Of the request that it was served for.
            body: Of that request.
        """
        if self._closed or len(self._tasks) >= self._most or due.target.entry in self._busy:
            return None
        self._busy.add(due.target.entry)
        work = self._compute(engine, due, subrequest_scope(scope, body), body)
        # the run does not inherit the context variables of the request
        task = Context().run(asyncio.get_running_loop().create_task, work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Cancel all runs."""
        self._closed = True
        await cancel(*self._tasks, patience=_CLEANUP_SECONDS)

    async def _compute(self, engine: Engine, due: Refreshable, scope: Scope, body: bytes) -> None:
        place = due.target.entry
        lease = await engine.lead(due.target, due.entry)
        if lease is None:
            self._busy.discard(place)
            return
        try:
            await send_subrequest({**scope, RERUN: Rerun(due.resource, lease)}, body)
        except Exception as error:  # the application may raise anything
            message = "%s: what is stale could not be refreshed: %r"
            logger.warning(message, due.route, error, extra={"route": due.route})
        finally:
            await lease.release()
            pause = 0 if lease.filled else self._pause_seconds
            asyncio.get_running_loop().call_later(pause, self._busy.discard, place)
