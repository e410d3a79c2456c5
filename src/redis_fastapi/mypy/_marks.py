"""Finds markers in annotations by type-checking each metadata expression.

The expression is checked as if it were code, so that mypy itself reports a wrong argument, at its
place; the resulting type carries the arguments. Errors in anything but markers are not reported.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

from mypy import errorcodes, nodes
from mypy.checker import TypeChecker
from mypy.errors import ErrorInfo
from mypy.nodes import Context, Expression, SymbolNode, TypeInfo
from mypy.types import (
    CallableType,
    FunctionLike,
    Instance,
    ProperType,
    Type,
    TypeType,
    get_proper_type,
)

from .._policy.facts import MarkerFacts
from ._convert import Converter, anything, placed
from ._metadata import Metadata
from ._sources import dotted_name
from ._values import arguments_of, kind_of


@dataclass(frozen=True, slots=True)
class Mark:
    """A marker found in an annotation.

    Attributes:
        facts: Its kind and arguments.
        where: Where to report: at the marker, or at the alias that contains it.
        bare: Whether it is the class instead of an instance.
        effective: Whether it is at the top level of the annotation.
    """

    facts: MarkerFacts
    where: Expression
    bare: bool
    effective: bool


def read_mark(item: Metadata, site: Expression | None, api: TypeChecker) -> Mark | None:
    """The marker of a metadata expression, after reporting mypy's errors in it; None if none.

    ``site`` is where to report if the expression is in an alias.
    """
    node = _named(item)
    if isinstance(node, TypeInfo) and kind_of(node) is None:
        return None
    if isinstance(node, nodes.FuncDef) and not _returns_marker(node.type):
        return None
    undefined: list[tuple[str, Context]] = []
    converter = Converter(item.at.scope, lambda name, where: undefined.append((name, where)))
    expression = converter.convert(item.expr)
    with api.msg.filter_errors(save_filtered_errors=True) as watcher:
        found = get_proper_type(api.get_expression_type(expression))
    where = site if site is not None else expression
    if (kind := _class_in(found)) is not None:
        return Mark(MarkerFacts(kind), where, True, item.at.effective)
    kind = kind_of(found.type) if isinstance(found, Instance) else None
    if kind is None or not isinstance(found, Instance):
        return None
    _report_native(item, site, undefined, watcher.filtered_errors(), api)
    return Mark(MarkerFacts(kind, arguments_of(found)), where, False, item.at.effective)


def site_of(item: Metadata) -> Expression | None:
    """The alias in the inspected annotation through which the item was found, or None."""
    return placed(anything(), item.at.site) if item.at.site is not None else None


def _named(item: Metadata) -> SymbolNode | None:
    """The symbol that the expression or its callee names."""
    named = item.expr.func if isinstance(item.expr, ast.Call) else item.expr
    dotted = dotted_name(named)
    symbol = item.at.scope.find(dotted) if dotted else None
    return symbol.node if symbol else None


def _returns_marker(function: Type | None) -> bool:
    proper = get_proper_type(function)
    if not isinstance(proper, CallableType):
        return False
    result = get_proper_type(proper.ret_type)
    return isinstance(result, Instance) and kind_of(result.type) is not None


def _class_in(found: ProperType) -> str | None:
    """The kind of a marker class, if the type is its class object."""
    if isinstance(found, FunctionLike) and found.is_type_obj():
        return kind_of(found.type_object())
    if isinstance(found, TypeType) and isinstance(found.item, Instance):
        return kind_of(found.item.type)
    return None


def _report_native(
    item: Metadata,
    site: Expression | None,
    undefined: list[tuple[str, Context]],
    errors: list[ErrorInfo],
    api: TypeChecker,
) -> None:
    if item.at.scope.module is api.tree:
        for name, where in undefined:
            api.fail(f'Name "{name}" is not defined', where, code=errorcodes.NAME_DEFINED)
        # --disallow-any-expr would report the placeholders
        api.msg.add_errors([one for one in errors if not one.message.startswith("Expression ")])
        return
    origin = item.at.aliases[-1] if item.at.aliases else item.at.scope.module.fullname
    for one in errors:
        if one.severity == "error" and site is not None:
            api.fail(f'In "{origin}": {one.message}', site, code=one.code)
