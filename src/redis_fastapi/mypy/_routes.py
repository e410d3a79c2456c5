"""Reads methods, path and route class from the call that registers a route."""

from __future__ import annotations

from mypy import nodes
from mypy.checker import TypeChecker
from mypy.nodes import CallExpr, Expression, MypyFile, NameExpr, RefExpr, StrExpr
from mypy.plugin import MethodContext
from mypy.types import Instance, Type

from ._calls import caches_by
from ._functions import argument
from ._names import module_of, statements
from ._sources import Source
from ._values import route_class_of

_APP = "fastapi.applications.FastAPI"


def methods_of(verb: str, ctx: MethodContext) -> frozenset[str] | None:
    """The methods of a route; None if they are not literals."""
    if verb not in ("api_route", "add_api_route"):
        return frozenset({verb.upper()})
    given = argument(ctx, "methods")
    if given is None:
        return frozenset({"GET"})
    items = (
        given.items if isinstance(given, (nodes.ListExpr, nodes.TupleExpr, nodes.SetExpr)) else []
    )
    texts = [item.value.upper() for item in items if isinstance(item, StrExpr)]
    return frozenset(texts) if items and len(texts) == len(items) else None


def makes_cache_routes(ctx: MethodContext, source: Source, api: TypeChecker) -> bool | None:
    """Whether the route is a cache route; None if the router may have been changed."""
    override = argument(ctx, "route_class_override")
    if override is not None:
        index = ctx.callee_arg_names.index("route_class_override")
        return caches_by(ctx.arg_types[index][0])
    router = router_of(ctx.context)
    if router is None:
        return None
    caches = route_class_of(ctx.type)
    if caches is False and (
        _is_assigned(api.tree) or _may_be_set_up(router, ctx.type, source, api)
    ):
        return None
    return caches


def router_of(call: nodes.Context) -> RefExpr | None:
    """The router of ``router.get(...)`` if it is a name; None for others, as ``routers[0]``."""
    callee = call.callee if isinstance(call, CallExpr) else None
    router = callee.expr if isinstance(callee, nodes.MemberExpr) else None
    return router if isinstance(router, RefExpr) else None


def path_of(call: CallExpr) -> str | None:
    """The path of a route, if it is a literal."""
    given: Expression | None = None
    if "path" in call.arg_names:
        given = call.args[call.arg_names.index("path")]
    elif call.args and call.arg_kinds[0] is nodes.ARG_POS:
        given = call.args[0]
    return given.value if isinstance(given, StrExpr) else None


def _is_assigned(module: MypyFile) -> bool:
    """Whether a module assigns any object's ``route_class``."""
    return any(
        isinstance(target, nodes.MemberExpr) and target.name == "route_class"
        for statement in statements(module.defs)
        if isinstance(statement, nodes.AssignmentStmt)
        for target in statement.lvalues
    )


def _may_be_set_up(router: RefExpr, given: Type, source: Source, api: TypeChecker) -> bool:
    """Whether ``FastAPIRedis(app).caching()`` may have been called."""
    if not isinstance(given, Instance) or not given.type.has_base(_APP):
        return False
    local = router.kind == nodes.LDEF or module_of(router.fullname, api.modules) is api.tree
    if not isinstance(router, NameExpr) or not local:
        return True
    return router.name in source.passed_names
