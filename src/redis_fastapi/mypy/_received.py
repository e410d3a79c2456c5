"""Whether parameters of an endpoint receive something behind a security scheme, or a form.

Only dependencies that can be followed completely count: ``Depends(f)`` with a plain function or
with one of FastAPI's security schemes.
"""

from __future__ import annotations

import ast
from typing import Final, NamedTuple

from mypy import nodes
from mypy.nodes import FuncDef, TypeInfo, Var
from mypy.types import Instance, Type, get_proper_type

from ._functions import Endpoint, Functions, annotated_arguments, defaults_of
from ._metadata import Annotations, Position
from ._names import Scope, module_of
from ._sources import dotted_name

_SCHEME: Final = "fastapi.security.base.SecurityBase"
_DEPENDS: Final = frozenset(
    f"fastapi.{module}.{name}"
    for module in ("param_functions", "params")
    for name in ("Depends", "Security")
)
_FORMS: Final = frozenset(
    f"fastapi.{module}.{name}"
    for module in ("param_functions", "params")
    for name in ("Form", "File")
)
_UPLOAD: Final = "fastapi.datastructures.UploadFile"
_DEPTH: Final = 8


class Received(NamedTuple):
    """What one parameter receives."""

    secured: bool = False
    form: bool = False

    def plus(self, other: Received) -> Received:
        """The union of both."""
        return Received(self.secured or other.secured, self.form or other.form)


class Receptions:
    """Follows parameters through their dependencies."""

    def __init__(self, functions: Functions, annotations: Annotations) -> None:
        self._functions = functions
        self._annotations = annotations

    def by_parameter(self, endpoint: Endpoint, depth: int = 0) -> dict[str, Received]:
        """What each parameter of a function receives."""
        if depth > _DEPTH:
            return {}
        types, defaults = endpoint.parameters, defaults_of(endpoint.definition)
        return {
            one.arg: self._parameter(
                one, types.get(one.arg), defaults.get(one.arg), endpoint.scope, depth
            )
            for one in annotated_arguments(endpoint.definition)
        }

    def _parameter(
        self,
        one: ast.arg,
        received: Type | None,
        default: ast.expr | None,
        scope: Scope,
        depth: int,
    ) -> Received:
        given = get_proper_type(received)
        upload = isinstance(given, Instance) and given.type.has_base(_UPLOAD)
        total = Received(form=upload)
        sources = [
            (item.expr, item.at.scope)
            for item in self._annotations.metadata(one.annotation, Position(scope))
            if item.at.effective
        ]
        if default is not None:
            sources.append((default, scope))
        for expression, where in sources:
            total = total.plus(self._declared(expression, where, depth))
        return total

    def _declared(self, expression: ast.expr, scope: Scope, depth: int) -> Received:
        """What ``Depends(...)``, ``Form()`` or another declaration supplies."""
        if not isinstance(expression, ast.Call):
            return Received()
        name = _fullname(expression.func, scope)
        if name in _FORMS:
            return Received(form=True)
        named = {keyword.arg: keyword.value for keyword in expression.keywords}
        target = expression.args[0] if expression.args else named.get("dependency")
        if name not in _DEPENDS or target is None:
            return Received()
        return self._dependency(target, scope, depth)

    def _dependency(self, target: ast.expr, scope: Scope, depth: int) -> Received:
        if isinstance(target, ast.Call):
            made = _node(target.func, scope)
            return Received(secured=isinstance(made, TypeInfo) and made.has_base(_SCHEME))
        node = _node(target, scope)
        if isinstance(node, Var):
            scheme = get_proper_type(node.type)
            secured = isinstance(scheme, Instance) and scheme.type.has_base(_SCHEME)
            return Received(secured=secured)
        if isinstance(node, nodes.Decorator):
            node = node.func
        return self._function(node, scope, depth) if isinstance(node, FuncDef) else Received()

    def _function(self, function: FuncDef, scope: Scope, depth: int) -> Received:
        module = module_of(function.fullname, scope.modules)
        if module is None or module.is_stub:
            return Received()
        within = scope if module is scope.module else Scope(scope.modules, module)
        below = self._functions.read(function, within)
        total = Received()
        for one in self.by_parameter(below, depth + 1).values() if below else ():
            total = total.plus(one)
        return total


def _node(expression: ast.expr, scope: Scope) -> nodes.SymbolNode | None:
    dotted = dotted_name(expression)
    symbol = scope.find(dotted) if dotted else None
    return symbol.node if symbol else None


def _fullname(expression: ast.expr, scope: Scope) -> str | None:
    node = _node(expression, scope)
    return node.fullname if node is not None else None
