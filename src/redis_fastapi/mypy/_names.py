"""Resolves names in annotations, once mypy has bound the names of a module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from mypy import nodes
from mypy.nodes import Context, FuncDef, FuncItem, MypyFile, SymbolTableNode, TypeInfo
from mypy.semanal import SemanticAnalyzer

_INNER: Final = (
    "finally_body",
    "else_body",
    "handlers",
    "bodies",
    "items",
    "func",
    "defs",
    "body",
)
_SCOPES: Final = (nodes.FuncDef, nodes.Decorator, nodes.OverloadedFuncDef, nodes.ClassDef)


class Scope:
    """A scope in a module: the module, and the enclosing classes and functions."""

    def __init__(
        self, modules: Mapping[str, MypyFile], module: MypyFile, around: tuple[object, ...] = ()
    ) -> None:
        self.modules = modules
        self.module = module
        self._around = around

    @property
    def in_function(self) -> bool:
        """Whether it is in a function, where a name that is not found may still be bound."""
        return any(isinstance(one, FuncItem) for one in self._around)

    def find(self, dotted: str) -> SymbolTableNode | None:
        """The symbol that a dotted name leads to."""
        first, *rest = dotted.split(".")
        symbol = self.bound(first)
        for name in rest:
            owner = symbol.node if symbol else None
            symbol = owner.names.get(name) if isinstance(owner, (MypyFile, TypeInfo)) else None
        return symbol

    def bound(self, name: str) -> SymbolTableNode | None:
        """The symbol of a plain name."""
        for depth, owner in enumerate(reversed(self._around)):
            # names of a class body are visible only in its own statements
            if isinstance(owner, TypeInfo) and depth == 0 and name in owner.names:
                return owner.names[name]
            if isinstance(owner, FuncItem) and (found := _local(owner, name)):
                return found
        return self.module.names.get(name) or self.modules["builtins"].names.get(name)


class AnalyzerScope(Scope):
    """A scope during semantic analysis, while mypy itself binds names."""

    def __init__(self, analyzer: SemanticAnalyzer, where: Context) -> None:
        super().__init__(analyzer.modules, analyzer.cur_mod_node)
        self._analyzer = analyzer
        self._where = where

    def find(self, dotted: str) -> SymbolTableNode | None:
        """The symbol that a dotted name leads to."""
        return self._analyzer.lookup_qualified(dotted, self._where, suppress_errors=True)


def statements(root: Any, *, deep: bool = True) -> Iterator[Any]:
    """The statements below a node, in order; if deep, also of inner functions and classes."""
    waiting = [*reversed(root)] if isinstance(root, list) else [root]
    while waiting:
        node = waiting.pop()
        if not isinstance(node, nodes.Block):
            yield node
        if not deep and isinstance(node, _SCOPES):
            continue
        for name in _INNER:
            inner = getattr(node, name, None)
            waiting.extend(reversed(inner) if isinstance(inner, list) else [inner] if inner else [])


def module_of(fullname: str, modules: Mapping[str, MypyFile]) -> MypyFile | None:
    """The module in which a fully qualified name is bound."""
    while "." in fullname:
        fullname = fullname.rpartition(".")[0]
        if fullname in modules:
            return modules[fullname]
    return None


def within_module(fullname: str, module: MypyFile) -> str:
    """A qualified name without its module."""
    return fullname.removeprefix(f"{module.fullname}.")


def _local(function: FuncItem, name: str) -> SymbolTableNode | None:
    """A name bound in a function, found by search, since mypy drops functions' symbol tables."""
    for argument in function.arguments:
        if argument.variable.name == name:
            return SymbolTableNode(nodes.LDEF, argument.variable)
    body = function.body.body if isinstance(function, FuncDef) else []
    for statement in statements(body, deep=False):
        if (found := _bound_by(statement, name)) is not None:
            return SymbolTableNode(nodes.LDEF, found)
    return None


def _bound_by(statement: nodes.Node, name: str) -> nodes.SymbolNode | None:
    if isinstance(statement, nodes.AssignmentStmt):
        return _target(statement.lvalues, name)
    if isinstance(statement, nodes.ForStmt):
        return _target([statement.index], name)
    if isinstance(statement, nodes.WithStmt):
        return _target([one for one in statement.target if one is not None], name)
    if isinstance(statement, (FuncDef, nodes.Decorator)) and statement.name == name:
        return statement
    if isinstance(statement, nodes.ClassDef) and statement.name == name:
        return statement.info
    return None


def _target(targets: list[nodes.Expression], name: str) -> nodes.SymbolNode | None:
    for target in targets:
        if isinstance(target, nodes.NameExpr) and target.name == name:
            return target.node
        if isinstance(target, (nodes.TupleExpr, nodes.ListExpr)) and (
            found := _target(target.items, name)
        ):
            return found
    return None
