"""Hooks on plain calls, for the arguments of markers, routers and dependencies."""

from __future__ import annotations

from typing import Final

from mypy.nodes import ARG_STAR2, CallExpr, FuncDef, RefExpr
from mypy.plugin import FunctionContext
from mypy.types import FunctionLike, Instance, Type, TypeType, get_proper_type

from .._policy.facts import EndpointFacts, MarkerFacts
from .._policy.rules import check
from ._report import report
from ._values import given_values, parameters_of, with_arguments, with_route_class

CACHE_ROUTE: Final = "redis_fastapi.route.CacheRoute"

DEPENDENCIES: Final = {
    "redis_fastapi.dependencies.cache": "Cached",
    "redis_fastapi.dependencies.cache_put": "CachePut",
    "redis_fastapi.dependencies.cache_evict": "CacheEvict",
}

_OWN_MEANING: Final = frozenset(
    {"eviction_group", "key_builder", "prefix", "cache_prefix", "group"}
)
"""Parameters of the dependencies that markers do not have, or that accept more than theirs."""


def marker_made(ctx: FunctionContext) -> Type:
    """``Cached(ttl=300)``: a type that carries the arguments."""
    result = get_proper_type(ctx.default_return_type)
    return with_arguments(result, ctx) if isinstance(result, Instance) else result


def router_made(ctx: FunctionContext) -> Type:
    """``APIRouter(route_class=...)``: a type that carries whether the route class caches."""
    result = get_proper_type(ctx.default_return_type)
    if not isinstance(result, Instance) or any(ARG_STAR2 in kinds for kinds in ctx.arg_kinds):
        return ctx.default_return_type
    given = argument_type(ctx, "route_class")
    caches = caches_by(given) if given is not None else False
    return result if caches is None else with_route_class(result, caches, ctx.api)


def app_made(ctx: FunctionContext) -> Type:
    """``FastAPI()``: a type that says that its routes do not cache, until ``caching()``."""
    result = get_proper_type(ctx.default_return_type)
    return with_route_class(result, False, ctx.api) if isinstance(result, Instance) else result


def dependency_made(kind: str, ctx: FunctionContext) -> Type:
    """``cache(ttl=300)``: checked at the call, since its arguments are unknown at the endpoint."""
    values = given_values(ctx, _parameters(ctx)) or {}
    given = {name: value for name, value in values.items() if name not in _OWN_MEANING}
    facts = EndpointFacts("endpoint", markers=(MarkerFacts(kind, given, lenient=True),))
    for problem in check(facts):
        where = ctx.context
        if problem.argument in given:
            where = ctx.args[ctx.callee_arg_names.index(problem.argument)][0]
        report(problem, where, ctx.context, ctx.api.msg.errors)
    return ctx.default_return_type


def _parameters(ctx: FunctionContext) -> dict[str, Type]:
    callee = ctx.context.callee if isinstance(ctx.context, CallExpr) else None
    function = callee.node if isinstance(callee, RefExpr) else None
    return parameters_of(function.type if isinstance(function, FuncDef) else None)


def argument_type(ctx: FunctionContext, name: str) -> Type | None:
    """The type of a named argument; None if it is not given."""
    if name not in ctx.callee_arg_names:
        return None
    given = ctx.arg_types[ctx.callee_arg_names.index(name)]
    return given[0] if given else None


def caches_by(route_class: Type) -> bool | None:
    """Whether a route class caches; None if unknown, as for a ``type[APIRoute]``."""
    proper = get_proper_type(route_class)
    if isinstance(proper, FunctionLike) and proper.is_type_obj():
        return proper.type_object().has_base(CACHE_ROUTE)
    if isinstance(proper, TypeType) and isinstance(proper.item, Instance):
        return proper.item.type.has_base(CACHE_ROUTE) or None
    return None
