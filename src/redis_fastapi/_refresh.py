"""Runs in the background that compute anew what is served stale, or ends soon.

- Of one entry there is one run at a time, over all processes: who does not get its lease does
  nothing.
- A run is a request of its own through the application, with dependencies of its own. Of the
  request that was answered it has the path, the headers and the body, and nothing that request
  opened.
- A run that fails or stores nothing is not repeated at once; all of them end with the application.
"""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context
from typing import NamedTuple

from starlette.types import Scope

from ._background import cancel
from ._engine import Engine
from ._entry import Entry
from ._inner import inner_scope, sent
from ._keys import Target
from ._leases import Lease

RERUN = "redis_fastapi_rerun"
"""Where the scope of such a run holds its `Rerun`."""

logger = logging.getLogger("redis_fastapi")

_MOST = 16
"""Runs of one application at a time; beyond that the entry stays as stale as it is."""

_PAUSE_SECONDS = 1.0

_CLEANUP_SECONDS = 10.0
"""What an author's dependencies have to clean up in when the application ends."""


class Refreshable(NamedTuple):
    """An entry that is to be computed anew.

    Attributes:
        route: The route in messages and logs.
        resource: Where a request for it begins to look.
        target: Where it is.
        entry: The entry.
    """

    route: str
    resource: Target
    target: Target
    entry: Entry


class Rerun:
    """What a run is for."""

    def __init__(self, resource: Target, lease: Lease) -> None:
        self._resource = resource
        self._lease = lease

    def lease_of(self, resource: Target) -> Lease | None:
        """The lease for a resource; None where the run has come to another one."""
        return self._lease if resource == self._resource else None


class Refreshes:
    """The runs of one application.

    Args:
        most: How many there are at once.
        pause_seconds: How long an entry is left alone after a run that stored nothing.
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
        """Compute an entry anew, unless that is under way or there are too many runs.

        Args:
            engine: Of the cache.
            due: The entry.
            scope: Of the request that it answers.
            body: Of that request.
        """
        if self._closed or len(self._tasks) >= self._most or due.target.entry in self._busy:
            return None
        self._busy.add(due.target.entry)
        work = self._compute(engine, due, inner_scope(scope, body), body)
        # nothing that the answered request has in its context variables is the run's
        task = Context().run(asyncio.get_running_loop().create_task, work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Cancel what runs."""
        self._closed = True
        await cancel(*self._tasks, patience=_CLEANUP_SECONDS)

    async def _compute(self, engine: Engine, due: Refreshable, scope: Scope, body: bytes) -> None:
        place = due.target.entry
        lease = await engine.lead(due.target, due.entry)
        if lease is None:
            self._busy.discard(place)
            return
        try:
            await sent({**scope, RERUN: Rerun(due.resource, lease)}, body)
        except Exception as error:  # the application may raise anything
            message = "%s: what is stale could not be refreshed: %r"
            logger.warning(message, due.route, error, extra={"route": due.route})
        finally:
            await lease.release()
            pause = 0 if lease.filled else self._pause_seconds
            asyncio.get_running_loop().call_later(pause, self._busy.discard, place)
