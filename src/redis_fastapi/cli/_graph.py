"""The routes of an application and the groups between them, as a flowchart."""

from __future__ import annotations

from collections.abc import Iterator

from .._policy.policy import WritePolicy
from .._routes.describe import route_name
from .._routes.registry import Registry, Served
from ._reach import names_resource, same_resource


def mermaid(registry: Registry) -> str:
    """Writes, the groups they evict, and the reads in those groups, as a mermaid flowchart."""
    names = _NodeNames()
    lines = dict.fromkeys(_edges(registry, names))
    return "\n".join(["flowchart LR", *(f"    {line}" for line in (*names.lines, *lines))])


class _NodeNames:
    """Short names of a flowchart's nodes, and the lines that declare them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._known: dict[tuple[str, str], str] = {}

    def route(self, kind: str, served: Served) -> str:
        """The name of a route's node; ``kind`` is ``r`` for its read and ``w`` for its write."""
        return self._node(kind, route_name(served), "[]")

    def group(self, text: str) -> str:
        """The name of a group's node."""
        return self._node("g", text, "()")

    def _node(self, kind: str, text: str, shape: str) -> str:
        """The node's name; declared at first use."""
        if (kind, text) not in self._known:
            name = self._known[kind, text] = f"{kind}{len(self._known)}"
            self.lines.append(f'{name}{shape[0]}"{text.replace(chr(34), "#quot;")}"{shape[1]}')
        return self._known[kind, text]


def _edges(registry: Registry, names: _NodeNames) -> Iterator[str]:
    for served, write in registry.writes:
        yield from _write_edges(served, write, registry, names)
    for served, read in registry.reads:
        target = names.route("r", served)
        for group in read.groups:
            yield f"{names.group(group.pattern)} --> {target}"


def _write_edges(
    served: Served, write: WritePolicy, registry: Registry, names: _NodeNames
) -> Iterator[str]:
    source = names.route("w", served)
    for eviction in write.evictions:
        if eviction.everything:
            yield f"{source} -->|evicts| {names.group('the whole cache')}"
        for group in eviction.groups:
            yield f"{source} -->|evicts| {names.group(group.pattern)}"
        for one, read in registry.reads:
            if names_resource(eviction, served, one, read):
                yield f"{source} -->|evicts| {names.route('r', one)}"
    if write.put is not None:
        for one, read in registry.reads:
            if same_resource(write.put.key, served, one, read):
                yield f"{source} -->|puts| {names.route('r', one)}"
