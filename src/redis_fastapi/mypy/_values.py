"""Values as types and back: what a call was given travels in the type of its result.

mypy keeps ``Instance.extra_attrs`` in its cache and shows it to nobody, so a marker or a router
brings its arguments along through variables, imports and factories.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mypy.constant_fold import constant_fold_expr
from mypy.nodes import ARG_STAR, ARG_STAR2, ArgKind, Expression, StrExpr, TupleExpr, TypeInfo
from mypy.plugin import CheckerPluginInterface, FunctionContext
from mypy.types import (
    AnyType,
    Instance,
    LiteralType,
    NoneType,
    ProperType,
    TupleType,
    Type,
    TypeOfAny,
    get_proper_type,
)

from .._rules import UNKNOWN

MARKER_KINDS: Final[Mapping[str, str]] = {
    "redis_fastapi.markers.Cached": "Cached",
    "redis_fastapi.markers.CachePut": "CachePut",
    "redis_fastapi.markers.CacheEvict": "CacheEvict",
}

_ARGUMENT: Final = "__redis_cache_argument_"
_COMPLETE: Final = "__redis_cache_complete__"
_ROUTE_CLASS: Final = "__redis_cache_route__"
_NAMES: Final = ("ttl", "group", "key", "vary", "shared", "when")


def kind_of(info: TypeInfo) -> str | None:
    """Which marker a class is, or derives from."""
    found = (MARKER_KINDS.get(base.fullname) for base in info.mro)
    return next((kind for kind in found if kind), None)


def given_values(ctx: FunctionContext) -> dict[str, object] | None:
    """Arguments of a call, as far as they are constant; None where ``*`` or ``**`` hides some."""
    if any(kind in (ARG_STAR, ARG_STAR2) for kinds in ctx.arg_kinds for kind in kinds):
        return None
    return {
        name: _fitting(name, _value(expressions[0], types[0], _module(ctx.api)))
        for name, expressions, types in zip(
            ctx.callee_arg_names, ctx.args, ctx.arg_types, strict=True
        )
        if name is not None and len(expressions) == 1
    }


def with_arguments(result: Instance, ctx: FunctionContext) -> Instance:
    """A marker's type that carries what the marker was given."""
    values = given_values(ctx)
    if values is None:
        return result
    result = result.copy_with_extra_attr(_COMPLETE, NoneType())
    for name, value in values.items():
        result = result.copy_with_extra_attr(f"{_ARGUMENT}{name}", _type(value, ctx.api))
    return result


def arguments_of(marker: Instance) -> dict[str, object]:
    """What a marker was given; ``UNKNOWN`` for what its type does not carry."""
    carried = marker.extra_attrs.attrs if marker.extra_attrs else {}
    found: dict[str, object] = {}
    if _COMPLETE not in carried:
        found = dict.fromkeys(_NAMES, UNKNOWN)
    for name, carried_type in carried.items():
        if name.startswith(_ARGUMENT):
            found[name.removeprefix(_ARGUMENT)] = value_of(carried_type)
    return found


def with_route_class(router: Instance, caches: bool, api: CheckerPluginInterface) -> Instance:
    """A router's type that carries whether its routes are cache routes."""
    return router.copy_with_extra_attr(_ROUTE_CLASS, _type(caches, api))


def route_class_of(router: Type) -> bool | None:
    """Whether a router's routes are cache routes; None where its type does not carry it."""
    proper = get_proper_type(router)
    carried = (
        proper.extra_attrs.attrs if isinstance(proper, Instance) and proper.extra_attrs else {}
    )
    value = value_of(carried[_ROUTE_CLASS]) if _ROUTE_CLASS in carried else None
    return value if isinstance(value, bool) else None


def value_of(given: Type) -> object:
    """The one value of a type, or ``UNKNOWN``."""
    proper: ProperType = get_proper_type(given)
    if isinstance(proper, Instance) and proper.last_known_value is not None:
        proper = proper.last_known_value
    if isinstance(proper, LiteralType) and proper.fallback.type.fullname != "builtins.bytes":
        return proper.value if not proper.is_enum_literal() else UNKNOWN
    if isinstance(proper, NoneType):
        return None
    if isinstance(proper, TupleType):
        items = tuple(value_of(item) for item in proper.items)
        return UNKNOWN if UNKNOWN in items else items
    return UNKNOWN


def texts_in(node: Expression) -> list[StrExpr]:
    """The string literals of an argument: itself, or the items of a tuple."""
    if isinstance(node, TupleExpr):
        return [text for item in node.items for text in texts_in(item)]
    return [node] if isinstance(node, StrExpr) else []


def is_starred(kind: ArgKind) -> bool:
    """Whether an argument stands for several."""
    return kind in (ARG_STAR, ARG_STAR2)


def _fitting(name: str, value: object) -> object:
    """The value, or ``UNKNOWN`` where mypy itself says that its type is wrong."""
    items = value if isinstance(value, tuple) else (value,)
    texts = all(isinstance(item, str) for item in items)
    fits = texts if name in ("group", "vary") else not texts if name == "ttl" else True
    return value if fits else UNKNOWN


def _value(expression: Expression, given: Type, module: str) -> object:
    if isinstance(expression, TupleExpr) and isinstance(get_proper_type(given), TupleType):
        items = tuple(constant_fold_expr(item, module) for item in expression.items)
        if None not in items:
            return items
    folded = constant_fold_expr(expression, module)
    return value_of(given) if folded is None else folded


def _type(value: object, api: CheckerPluginInterface) -> Type:
    """A type that stands for a value, such that mypy can write it to its cache."""
    if value is None:
        return NoneType()
    if isinstance(value, (bool, int, str)):
        return LiteralType(value, api.named_generic_type(f"builtins.{type(value).__name__}", []))
    if isinstance(value, tuple):
        anything = AnyType(TypeOfAny.special_form)
        fallback = api.named_generic_type("builtins.tuple", [anything])
        return TupleType([_type(item, api) for item in value], fallback)
    return AnyType(TypeOfAny.special_form)


def _module(api: CheckerPluginInterface) -> str:
    tree = getattr(api, "tree", None)
    return str(tree.fullname) if tree is not None else ""
