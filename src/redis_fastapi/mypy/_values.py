"""Stores the arguments of a call in the type of its result, and reads them from it.

mypy keeps ``Instance.extra_attrs`` in its cache and never displays it, so that the arguments of a
marker or router survive variables, imports and factories. They are stored as the text of a Python
literal, with ``...`` for values that are not constant.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from mypy.constant_fold import constant_fold_expr
from mypy.nodes import ARG_STAR, ARG_STAR2, ArgKind, DictExpr, Expression, TupleExpr, TypeInfo
from mypy.plugin import CheckerPluginInterface, FunctionContext
from mypy.subtypes import is_subtype
from mypy.types import (
    CallableType,
    Instance,
    LiteralType,
    NoneType,
    TupleType,
    Type,
    get_proper_type,
)

from .._policy.facts import UNKNOWN, Unknown

MARKER_KINDS: Final[Mapping[str, str]] = {
    "redis_fastapi.markers.Cached": "Cached",
    "redis_fastapi.markers.CachePut": "CachePut",
    "redis_fastapi.markers.CacheEvict": "CacheEvict",
}

_ARGUMENTS: Final = "__redis_cache_arguments__"
_ROUTE_CLASS: Final = "__redis_cache_route__"
_CACHES: Final[Mapping[str | None, bool]] = {"True": True, "False": False}


def kind_of(info: TypeInfo) -> str | None:
    """The marker that a class is or derives from, or None."""
    found = (MARKER_KINDS.get(base.fullname) for base in info.mro)
    return next((kind for kind in found if kind), None)


def given_values(ctx: FunctionContext, parameters: Mapping[str, Type]) -> dict[str, object] | None:
    """The arguments of a call as constants or ``UNKNOWN``; None if ``*`` or ``**`` hides some.

    An argument whose type is wrong according to mypy is ``UNKNOWN``.
    """
    if any(is_starred(kind) for kinds in ctx.arg_kinds for kind in kinds):
        return None
    module = _module(ctx.api)
    found: dict[str, object] = {}
    for name, expressions, types in zip(ctx.callee_arg_names, ctx.args, ctx.arg_types, strict=True):
        if name is not None and expressions:
            expected = parameters.get(name)
            fits = expected is None or is_subtype(types[0], expected)
            found[name] = _value(expressions[0], types[0], module) if fits else UNKNOWN
    return found


def parameters_of(function: Type | None) -> dict[str, Type]:
    """The named parameters of a callable, with their types."""
    proper = get_proper_type(function)
    if not isinstance(proper, CallableType):
        return {}
    pairs = zip(proper.arg_names, proper.arg_types, strict=True)
    return {name: given for name, given in pairs if name is not None}


def with_arguments(marker: Instance, ctx: FunctionContext) -> Instance:
    """A marker's type that carries the arguments of the marker."""
    values = given_values(ctx, _fields(marker))
    return marker if values is None else _carrying(marker, _ARGUMENTS, _text_of(values), ctx.api)


def arguments_of(marker: Instance) -> Mapping[str, object]:
    """The arguments of a marker, with ``UNKNOWN`` for those that its type does not carry."""
    carried = _carried(marker, _ARGUMENTS)
    if carried is None:
        return dict.fromkeys(_fields(marker), UNKNOWN)
    return _values_in(carried)


def with_route_class(router: Instance, caches: bool, api: CheckerPluginInterface) -> Instance:
    """A router's type that carries whether its routes are cache routes."""
    return _carrying(router, _ROUTE_CLASS, repr(caches), api)


def route_class_of(router: Type) -> bool | None:
    """Whether a router's routes are cache routes; None if its type does not carry that."""
    return _CACHES.get(_carried(router, _ROUTE_CLASS))


def is_starred(kind: ArgKind) -> bool:
    """Whether an argument is ``*`` or ``**``."""
    return kind in (ARG_STAR, ARG_STAR2)


def _fields(marker: Instance) -> dict[str, Type]:
    made_by = marker.type.get("__init__")
    parameters = parameters_of(made_by.type if made_by else None)
    parameters.pop("self", None)
    return parameters


def _carrying(instance: Instance, name: str, text: str, api: CheckerPluginInterface) -> Instance:
    literal = LiteralType(text, api.named_generic_type("builtins.str", []))
    return instance.copy_with_extra_attr(name, literal)


def _text_of(values: Mapping[str, object]) -> str:
    texts = {name: "..." if one is UNKNOWN else repr(one) for name, one in values.items()}
    return f"{{{', '.join(f'{name!r}: {text}' for name, text in texts.items())}}}"


@lru_cache(maxsize=1024)
def _values_in(text: str) -> Mapping[str, object]:
    """The values in a text; memoized, since parsing costs as much as checking the call."""
    values = ast.literal_eval(text).items()
    return {name: UNKNOWN if value is ... else value for name, value in values}


def _carried(given: Type, name: str) -> str | None:
    """The text that a type carries under a name, or None."""
    proper = get_proper_type(given)
    extra = proper.extra_attrs if isinstance(proper, Instance) else None
    text = get_proper_type(extra.attrs.get(name)) if extra else None
    return str(text.value) if isinstance(text, LiteralType) else None


def _value(expression: Expression, given: Type, module: str) -> object:
    """The constant value of an expression, or ``UNKNOWN``."""
    if isinstance(expression, TupleExpr):
        return _all_known(tuple(_folded(item, module) for item in expression.items), given)
    if isinstance(expression, DictExpr):
        items = [(_folded(key, module), _folded(one, module)) for key, one in expression.items]
        return UNKNOWN if any(UNKNOWN in item for item in items) else dict(items)
    folded = _folded(expression, module)
    return _value_of(given) if folded is UNKNOWN else folded


def _all_known(items: tuple[object, ...], given: Type) -> object:
    return items if UNKNOWN not in items else _value_of(given)


def _folded(expression: Expression | None, module: str) -> object:
    value = constant_fold_expr(expression, module) if expression is not None else None
    known = isinstance(value, (int, str)) or (isinstance(value, float) and math.isfinite(value))
    return value if known else UNKNOWN


def _value_of(given: Type) -> object:
    """The only value of a type, or ``UNKNOWN``."""
    proper = get_proper_type(given)
    if isinstance(proper, Instance) and proper.last_known_value is not None:
        proper = proper.last_known_value
    if isinstance(proper, LiteralType) and proper.fallback.type.fullname != "builtins.bytes":
        return proper.value if not proper.is_enum_literal() else UNKNOWN
    if isinstance(proper, NoneType):
        return None
    if isinstance(proper, TupleType):
        items = tuple(_value_of(item) for item in proper.items)
        return UNKNOWN if any(isinstance(item, Unknown) for item in items) else items
    return UNKNOWN


def _module(api: CheckerPluginInterface) -> str:
    tree = getattr(api, "tree", None)
    return str(tree.fullname) if tree is not None else ""
