"""Work that its caller does not wait for, or that goes on when the caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")

_CLOSE_SECONDS = 1.0


class Background:
    """The tasks of one engine.

    Attributes:
        closed: Whether nothing new is to be started.
        tasks: What runs now.
    """

    def __init__(self) -> None:
        self.closed = False
        self.tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Run `work` to its end, whatever becomes of the caller."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def close(self) -> None:
        """Give what runs a second to end, then cancel it."""
        self.closed = True
        if not self.tasks:
            return
        _, late = await asyncio.wait(self.tasks, timeout=_CLOSE_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
