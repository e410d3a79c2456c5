"""The function behind a route: mypy's node, its ``ast`` and its scope."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from mypy import nodes
from mypy.checker import TypeChecker
from mypy.nodes import CallExpr, Expression, FuncDef, MypyFile
from mypy.plugin import MethodContext
from mypy.types import CallableType, Instance, Type, UnboundType, get_proper_type
from mypy.typevars import fill_typevars

from ._names import Scope, module_of, statements, within_module
from ._sources import Function, Source, Sources


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint whose source was found.

    Attributes:
        function: Its node in mypy.
        definition: The same function in ``ast``.
        source: The file that defines it.
        scope: The scope of the names in its signature.
        foreign: Whether another module registers it.
        bound: Whether a method is already bound to its instance; in a class-based view, it is not.
    """

    function: FuncDef
    definition: Function
    source: Source
    scope: Scope
    foreign: bool = False
    bound: bool = True

    @property
    def parameters(self) -> dict[str, Type]:
        """The names and types of its parameters."""
        function = get_proper_type(self.function.type)
        if not isinstance(function, CallableType):
            return {}
        pairs = [*zip(function.arg_names, function.arg_types, strict=True)]
        if self.function.info and not self.function.is_static:
            instance = [(pairs[0][0], fill_typevars(self.function.info))]
            pairs = [*([] if self.bound else instance), *pairs[1:]]
        return {name: given for name, given in pairs if name is not None}

    @property
    def returned(self) -> Type | None:
        """Its return type, of a coroutine the awaited one."""
        function = get_proper_type(self.function.type)
        if not isinstance(function, CallableType):
            return None
        result = get_proper_type(function.ret_type)
        coroutine = isinstance(result, Instance) and result.type.fullname == "typing.Coroutine"
        if self.function.is_coroutine and isinstance(result, Instance) and coroutine:
            return result.args[2]
        return result


class NewerSyntaxError(Exception):
    """A file that names markers uses syntax of a newer Python than the one that runs mypy."""


class Functions:
    """Finds the function that a call registers as endpoint."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._decorated: dict[int, tuple[CallExpr, FuncDef]] = {}

    def decorated(self, call: CallExpr, api: TypeChecker) -> Endpoint | None:
        """The function below ``@router.get(...)``."""
        function = self._below(call, api.tree)
        if function is None or not may_be_marked(function, api.tree):
            return None
        found = self.read(function, Scope(api.modules, api.tree, tuple(api.scope.stack[1:])))
        return found and replace(found, bound=False)

    def in_module_of(self, call: CallExpr, tree: MypyFile) -> Iterable[tuple[CallExpr, FuncDef]]:
        """All decorator calls of the module of a call, each with its function."""
        self._below(call, tree)
        return self._decorated.values()

    def _below(self, call: CallExpr, tree: MypyFile) -> FuncDef | None:
        """The function below a decorator call, from an index of the last module."""
        known = self._decorated.get(id(call))
        # each entry references its call, so that the call's id is not reused
        if known is None or known[0] is not call:
            self._decorated = {id(one[0]): one for one in _decorators(tree)}
            known = self._decorated.get(id(call))
        return known[1] if known is not None else None

    def given(self, ctx: MethodContext, api: TypeChecker) -> Endpoint | None:
        """The function passed to ``add_api_route``."""
        expression = argument(ctx, "endpoint")
        index = ctx.callee_arg_names.index("endpoint") if expression else 0
        found = expression and function_of(expression, ctx.arg_types[index][0])
        if not found:
            return None
        module = module_of(found.fullname, api.modules)
        if module is None or not may_be_marked(found, module):
            return None
        return self.read(found, Scope(api.modules, module), foreign=module is not api.tree)

    def read(self, function: FuncDef, scope: Scope, *, foreign: bool = False) -> Endpoint | None:
        """A function with its ``ast``; None if that cannot be found.

        Raises:
            NewerSyntaxError: If the file names markers, and this Python cannot parse it although
                mypy can.
        """
        source = self._sources.get(scope.module.path)
        if source is None:
            return None
        if source.tree is None and source.mentions_markers:
            raise NewerSyntaxError
        definition = source.function_at(function.line)
        if definition is None or definition.name != function.name:
            definition = source.function_named(within_module(function.fullname, scope.module))
        if definition is None:
            return None
        return Endpoint(function, definition, source, scope, foreign)


def _decorators(tree: MypyFile) -> Iterator[tuple[CallExpr, FuncDef]]:
    for statement in statements(tree.defs):
        if isinstance(statement, nodes.Decorator):
            for call in statement.original_decorators:
                if isinstance(call, CallExpr):
                    yield call, statement.func


def function_of(expression: Expression, given: Type) -> FuncDef | None:
    """The function that an expression names: plain, decorated, a method or a callable object."""
    node = expression.node if isinstance(expression, nodes.RefExpr) else None
    proper = get_proper_type(given)
    if node is None and isinstance(proper, CallableType):
        node = proper.definition
    if isinstance(proper, Instance) and (symbol := proper.type.get("__call__")):
        node = symbol.node
    if isinstance(node, nodes.Decorator):
        node = node.func
    return node if isinstance(node, FuncDef) else None


def may_be_marked(function: FuncDef, module: MypyFile) -> bool:
    """Whether the file has to be read; not for a plain ``-> Product``, as most endpoints have."""
    written = function.unanalyzed_type
    if not isinstance(written, CallableType):
        return function.type is not None
    returned = written.ret_type
    if not isinstance(returned, UnboundType) or returned.args or "." in returned.name:
        return True
    symbol = module.names.get(returned.name)
    return symbol is None or not isinstance(symbol.node, nodes.TypeInfo)


def argument(ctx: MethodContext, name: str) -> Expression | None:
    """The expression passed for a parameter, or None."""
    if name not in ctx.callee_arg_names:
        return None
    given = ctx.args[ctx.callee_arg_names.index(name)]
    return given[0] if given else None


def defaults_of(definition: Function) -> dict[str, ast.expr]:
    """Defaults of parameters, by name."""
    spec = definition.args
    positional = [*spec.posonlyargs, *spec.args]
    late = positional[len(positional) - len(spec.defaults) :]
    pairs = [*zip(late, spec.defaults, strict=True)]
    keyword = zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    pairs += [(one, value) for one, value in keyword if value is not None]
    return {one.arg: value for one, value in pairs}


def annotated_arguments(definition: Function) -> list[ast.arg]:
    """All parameters of a function."""
    spec = definition.args
    optional = [one for one in (spec.vararg, spec.kwarg) if one is not None]
    return [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, *optional]
