"""Converts ``ast`` expressions to mypy expressions with bound names.

Unsupported expressions (lambdas, comprehensions, f-strings) become placeholders of type Any, so
that the rest of a call is still checked.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Final, TypeVar

from mypy import nodes
from mypy.nodes import ArgKind, Context, Expression, MypyFile, NameExpr, TempNode, TypeInfo
from mypy.types import AnyType, TypeOfAny

from ._names import Scope

_UNARY: Final[dict[type[ast.unaryop], str]] = {
    ast.USub: "-",
    ast.UAdd: "+",
    ast.Not: "not",
    ast.Invert: "~",
}
_BINARY: Final[dict[type[ast.operator], str]] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}

N = TypeVar("N", bound=Context)


def anything() -> TempNode:
    """An expression of type Any."""
    return TempNode(AnyType(TypeOfAny.special_form))


def placed(node: N, like: ast.expr) -> N:
    """Give a node the span of another, since ``type: ignore`` applies on any of its lines."""
    node.set_line(like.lineno, like.col_offset, like.end_lineno, like.end_col_offset)
    return node


class Converter:
    """Converts expressions of one scope; calls ``undefined`` for each name that is not bound."""

    def __init__(self, scope: Scope, undefined: Callable[[str, Context], None]) -> None:
        self._scope = scope
        self._undefined = undefined

    def convert(self, node: ast.expr) -> Expression:
        """The mypy expression, with the same span."""
        return placed(self._converted(node), node)

    def _converted(self, node: ast.expr) -> Expression:
        if isinstance(node, ast.Constant):
            return self._constant(node)
        if isinstance(node, ast.Name):
            return self._name(node.id, node)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
            return self._display(node)
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            return nodes.DictExpr(
                [(self.convert(key) if key else None, self.convert(one)) for key, one in pairs]
            )
        if isinstance(node, ast.UnaryOp):
            return nodes.UnaryExpr(_UNARY[type(node.op)], self.convert(node.operand))
        if isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
            operator = _BINARY[type(node.op)]
            return nodes.OpExpr(operator, self.convert(node.left), self.convert(node.right))
        return anything()

    def _constant(self, node: ast.Constant) -> Expression:
        value = node.value
        if value is None or isinstance(value, bool):
            return self._name(str(value), node)
        if isinstance(value, str):
            return nodes.StrExpr(value)
        if isinstance(value, int):
            return nodes.IntExpr(value)
        if isinstance(value, float):
            return nodes.FloatExpr(value)
        if isinstance(value, bytes):
            return nodes.BytesExpr(repr(value)[2:-1])
        return nodes.EllipsisExpr() if value is ... else anything()

    def _name(self, name: str, node: ast.expr) -> Expression:
        symbol = self._scope.bound(name)
        if symbol is not None and symbol.node is not None:
            return _bound(NameExpr(name), symbol, symbol.kind)
        if not self._scope.in_function:
            self._undefined(name, placed(anything(), node))
        return TempNode(AnyType(TypeOfAny.from_error))

    def _attribute(self, node: ast.Attribute) -> Expression:
        base = self.convert(node.value)
        expr = nodes.MemberExpr(base, node.attr)
        owner = base.node if isinstance(base, nodes.RefExpr) else None
        symbol = owner.names.get(node.attr) if isinstance(owner, (MypyFile, TypeInfo)) else None
        if symbol is None or symbol.node is None:
            return expr
        return _bound(expr, symbol, nodes.MDEF if isinstance(owner, TypeInfo) else symbol.kind)

    def _call(self, node: ast.Call) -> Expression:
        arguments: list[tuple[ast.expr, ArgKind, str | None]] = []
        for one in node.args:
            if isinstance(one, ast.Starred):
                arguments.append((one.value, nodes.ARG_STAR, None))
            else:
                arguments.append((one, nodes.ARG_POS, None))
        for keyword in node.keywords:
            kind = nodes.ARG_NAMED if keyword.arg else nodes.ARG_STAR2
            arguments.append((keyword.value, kind, keyword.arg))
        return nodes.CallExpr(
            self.convert(node.func),
            [self.convert(value) for value, _, _ in arguments],
            [kind for _, kind, _ in arguments],
            [name for _, _, name in arguments],
        )

    def _display(self, node: ast.Tuple | ast.List | ast.Set) -> Expression:
        if any(isinstance(item, ast.Starred) for item in node.elts):
            return anything()
        items = [self.convert(item) for item in node.elts]
        if isinstance(node, ast.Tuple):
            return nodes.TupleExpr(items)
        return nodes.ListExpr(items) if isinstance(node, ast.List) else nodes.SetExpr(items)


R = TypeVar("R", bound=nodes.RefExpr)


def _bound(expr: R, symbol: nodes.SymbolTableNode, kind: int | None) -> R:
    expr.kind, expr.node, expr.fullname = kind, symbol.node, symbol.fullname or ""
    return expr
