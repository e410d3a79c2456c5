"""Finds the metadata of an annotation, also in strings, aliases and nested ``Annotated``.

Only metadata at the top level takes effect; within a union, a list or an optional it has none.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from mypy.nodes import TypeAlias

from ._names import Scope, module_of, within_module
from ._sources import Sources, dotted_name

ANNOTATED: Final = ("typing.Annotated", "typing_extensions.Annotated")


@dataclass(frozen=True, slots=True)
class Position:
    """A position in an annotation during the walk.

    Attributes:
        scope: Where names are looked up.
        effective: Whether a marker here takes effect.
        site: The alias in the inspected annotation that contains this position; None means the
            annotation itself.
        aliases: Qualified names of the aliases that were followed.
        follow: Whether to follow aliases to their metadata.
    """

    scope: Scope
    effective: bool = True
    site: ast.expr | None = None
    aliases: tuple[str, ...] = ()
    follow: bool = True

    @property
    def inside(self) -> Position:
        """The position nested in another type, where markers have no effect."""
        return replace(self, effective=False) if self.effective else self


@dataclass(frozen=True, slots=True)
class Metadata:
    """One metadata expression and its position."""

    expr: ast.expr
    at: Position


class Annotations:
    """Walks annotations; reads the files that define aliases."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def metadata(self, node: ast.expr | None, at: Position) -> Iterator[Metadata]:
        """All metadata expressions in an annotation, the innermost first, as at run time."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from self.metadata(_parsed(node), at)
        elif isinstance(node, ast.BinOp):
            yield from self.metadata(node.left, at.inside)
            yield from self.metadata(node.right, at.inside)
        elif isinstance(node, ast.List):
            for element in node.elts:
                yield from self.metadata(element, at.inside)
        elif isinstance(node, ast.Subscript):
            yield from self._subscript(node, at)
        elif isinstance(node, (ast.Name, ast.Attribute)):
            yield from self._alias(node, node, at)

    def _subscript(self, node: ast.Subscript, at: Position) -> Iterator[Metadata]:
        arguments = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if is_annotated(node.value, at.scope):
            # mypy itself reports an empty one
            for annotated in arguments[:1]:
                yield from self.metadata(annotated, at)
            for one in arguments[1:]:
                yield Metadata(one, at)
            return
        yield from self._alias(node.value, node, at)
        for one in arguments:
            yield from self.metadata(one, at.inside)

    def _alias(self, name: ast.expr, site: ast.expr, at: Position) -> Iterator[Metadata]:
        if at.follow:
            value, below = self._definition(name, site, at)
            yield from self.metadata(value, below)

    def _definition(
        self, name: ast.expr, site: ast.expr, at: Position
    ) -> tuple[ast.expr | None, Position]:
        """The value of an alias and its position; None for any other name."""
        dotted = dotted_name(name)
        symbol = at.scope.find(dotted) if dotted else None
        alias = symbol.node if symbol else None
        if not isinstance(alias, TypeAlias) or alias.fullname in at.aliases:
            return None, at
        module = module_of(alias.fullname, at.scope.modules)
        source = self._sources.get(module.path) if module and not module.is_stub else None
        # a file without ``Annotated`` defines no alias with metadata, and is not parsed
        if module is None or source is None or b"Annotated" not in source.data:
            return None, at
        value = source.value_of(within_module(alias.fullname, module))
        below = Position(
            Scope(at.scope.modules, module),
            at.effective,
            at.site or site,
            (*at.aliases, alias.fullname),
        )
        return _aliased(value), below

    def bare_text(self, node: ast.expr | None, at: Position) -> str:
        """The type without metadata, as written, for the line to write instead."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self.bare_text(_parsed(node), at)
        if isinstance(node, ast.Subscript) and is_annotated(node.value, at.scope):
            inner = node.slice.elts[0] if isinstance(node.slice, ast.Tuple) else node.slice
            return self.bare_text(inner, at)
        name = node.value if isinstance(node, ast.Subscript) else node
        if isinstance(name, (ast.Name, ast.Attribute)):
            value, below = self._definition(name, name, at)
            if isinstance(value, ast.Subscript) and is_annotated(value.value, below.scope):
                # type variables are not substituted
                return self.bare_text(value, below) if name is node else "..."
        return ast.unparse(node) if node is not None else "..."


def is_annotated(node: ast.expr, scope: Scope) -> bool:
    """Whether an expression is ``Annotated``, under any name."""
    dotted = dotted_name(node)
    symbol = scope.find(dotted) if dotted else None
    return symbol is not None and symbol.fullname in ANNOTATED


def _aliased(value: ast.expr | None) -> ast.expr | None:
    """The value of an alias; of ``TypeAliasType("X", ...)`` the second argument."""
    if not isinstance(value, ast.Call):
        return value
    named = {keyword.arg: keyword.value for keyword in value.keywords}
    return value.args[1] if len(value.args) > 1 else named.get("value")


def _parsed(node: ast.Constant) -> ast.expr | None:
    """A string annotation as an expression, with the span of the string."""
    try:
        inner = ast.parse(str(node.value).strip(), mode="eval").body
    except SyntaxError:
        return None
    for below in ast.walk(inner):
        if isinstance(below, (ast.expr, ast.keyword)):
            ast.copy_location(below, node)
    return inner
