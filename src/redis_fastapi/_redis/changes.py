"""Changes in Redis that this process has been notified of.

- A mark is alive until its name changes. A reader takes marks before its request is sent, and its
  result is valid while they are alive: any change reported in between has killed one of them.
- There are no marks while changes are not tracked, and none survives the start or end of tracking.
- This process's own writes are reported here as soon as Redis has acknowledged them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from weakref import WeakValueDictionary


class Mark:
    """Alive until its name changes."""

    __slots__ = ("__weakref__", "alive")

    def __init__(self) -> None:
        self.alive = True


Marks = tuple[Mark, ...]


def intact(marks: Marks) -> bool:
    """Whether nothing has changed since these marks were taken."""
    for mark in marks:  # noqa: SIM110 - a generator costs as much as the whole lookup
        if not mark.alive:
            return False
    return True


class Changes:
    """Names that change: digests of entries, and generations."""

    def __init__(self) -> None:
        self._era: Mark | None = None
        self._marks: WeakValueDictionary[str, Mark] = WeakValueDictionary()
        self._awaited: dict[str, set[asyncio.Future[None]]] = {}
        self._hooks: list[Callable[[str | None], None]] = []

    @property
    def is_tracking(self) -> bool:
        """Whether changes are being tracked."""
        return self._era is not None

    def on_change(self, hook: Callable[[str | None], None]) -> None:
        """Call `hook` with each name that changes, or with None if any name may have changed."""
        self._hooks.append(hook)

    def marks(self, names: Iterable[str]) -> Marks | None:
        """Marks that die when one of the names changes; None while changes are not tracked."""
        if self._era is None:
            return None
        return (self._era, *map(self._mark, names))

    def next_change(self, names: tuple[str, ...]) -> asyncio.Future[None]:
        """A future for the next change of one of the names, or of any; cancel it when unused."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for name in names:
            self._awaited.setdefault(name, set()).add(future)
        future.add_done_callback(partial(self._forget, names))
        return future

    def begin(self) -> None:
        """Start tracking: every change is reported from now on."""
        if self._era is None:
            self._era = Mark()

    def end(self) -> None:
        """Stop tracking: changes may be missed from now on."""
        if self._era is None:
            return
        self._era.alive = False
        self._era = None
        self._marks.clear()
        for name in list(self._awaited):
            self._wake(name)
        self._call_hooks(None)

    def changed(self, *names: str) -> None:
        """Report that these names have changed."""
        for name in names:
            mark = self._marks.pop(name, None)
            if mark is not None:
                mark.alive = False
            self._wake(name)
            self._call_hooks(name)

    def all_changed(self) -> None:
        """Report that any name may have changed."""
        was_tracking = self.is_tracking
        self.end()
        if was_tracking:
            self.begin()

    def _mark(self, name: str) -> Mark:
        mark = self._marks.get(name)
        if mark is None:
            mark = self._marks[name] = Mark()
        return mark

    def _wake(self, name: str) -> None:
        for future in self._awaited.pop(name, ()):
            if not future.done():
                future.set_result(None)

    def _forget(self, names: tuple[str, ...], future: asyncio.Future[None]) -> None:
        for name in names:
            waiting = self._awaited.get(name)
            if waiting is None:
                continue
            waiting.discard(future)
            if not waiting:
                del self._awaited[name]

    def _call_hooks(self, name: str | None) -> None:
        for hook in self._hooks:
            hook(name)
