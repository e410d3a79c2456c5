"""Tasks that outlive their caller, or continue when it is cancelled, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")

_CLOSE_SECONDS = 1.0
_CANCEL_SECONDS = 0.5


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
        """Run `work` to completion, even if the caller is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def close(self) -> None:
        """Give running tasks a second to finish, then cancel them."""
        self.closed = True
        if not self.tasks:
            return
        _, late = await asyncio.wait(self.tasks, timeout=_CLOSE_SECONDS)
        await cancel(*late)


async def cancel(*tasks: asyncio.Future[Any], patience: float = _CANCEL_SECONDS) -> None:
    """Cancel tasks and return when all have ended.

    They are cancelled again and again: before Python 3.12 a time limit (`asyncio.wait_for`) that is
    over in the same moment swallows a cancellation, and a task that goes on for ever would go on.

    Args:
        tasks: What to cancel.
        patience: Seconds that they have to clean up, before they are cancelled again.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=patience)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # asyncio complains of one that nobody has looked at
