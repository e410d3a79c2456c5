"""What changed in Redis, as far as this process hears of it.

- A mark lives until its name changes. A reader takes marks before its request leaves, and what it
  read counts while they live: a change that was heard in between has killed one of them.
- Nobody has marks while changes are not heard, and none survives the beginning or the end of that.
- A write of this process is told here as soon as Redis acknowledged it, before anyone hears it.
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
    for mark in marks:  # noqa: SIM110 - a generator costs as much as the whole look-up
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
    def heard(self) -> bool:
        """Whether every change is heard of."""
        return self._era is not None

    def on_change(self, hook: Callable[[str | None], None]) -> None:
        """Call `hook` with each name that changes, with None when any of them may have."""
        self._hooks.append(hook)

    def marks(self, names: Iterable[str]) -> Marks | None:
        """Marks that die when one of the names changes; None while changes are not heard."""
        if self._era is None:
            return None
        return (self._era, *map(self._mark, names))

    def next_change(self, names: tuple[str, ...]) -> asyncio.Future[None]:
        """Done when one of the names changes, or all may have; to be cancelled when given up."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for name in names:
            self._awaited.setdefault(name, set()).add(future)
        future.add_done_callback(partial(self._forget, names))
        return future

    def begin(self) -> None:
        """From now on every change is told."""
        if self._era is None:
            self._era = Mark()

    def end(self) -> None:
        """From now on changes may be missed."""
        if self._era is None:
            return
        self._era.alive = False
        self._era = None
        self._marks.clear()
        for name in list(self._awaited):
            self._wake(name)
        self._call_hooks(None)

    def changed(self, *names: str) -> None:
        """These names changed."""
        for name in names:
            mark = self._marks.pop(name, None)
            if mark is not None:
                mark.alive = False
            self._wake(name)
            self._call_hooks(name)

    def all_changed(self) -> None:
        """Any name may have changed."""
        was_heard = self.heard
        self.end()
        if was_heard:
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
