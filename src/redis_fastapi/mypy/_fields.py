"""Checks the attributes that a template names against the parameter's type."""

from __future__ import annotations

from typing import Final

from mypy.checker import TypeChecker
from mypy.nodes import MemberExpr, TempNode
from mypy.types import (
    Instance,
    NoneType,
    ProperType,
    Type,
    TypedDictType,
    UnionType,
    get_proper_type,
)

_MAPPING: Final = "typing.Mapping"
_MODEL: Final = "pydantic.main.BaseModel"
_SECRETS: Final = ("pydantic.types.SecretStr", "pydantic.types.SecretBytes")


def why_lacking(given: Type, attributes: tuple[str, ...], api: TypeChecker) -> str | None:
    """Why values of this type lack the attributes, in mypy's words, or have no text; else None.

    Optional types are checked without None, and mappings by key, as in ``Field.value``.
    """
    found = given
    for attribute in attributes:
        owner = _without_none(found)
        if isinstance(owner, TypedDictType):
            if attribute not in owner.items:
                return f"its type has no key {attribute!r}"
            found = owner.items[attribute]
            continue
        # in a union, values may always be of a member that has the attribute
        if not isinstance(owner, Instance) or owner.type.has_base(_MAPPING):
            return None
        with api.msg.filter_errors(save_filtered_errors=True) as watcher:
            found = api.get_expression_type(MemberExpr(TempNode(owner), attribute))
        errors = [one.message for one in watcher.filtered_errors() if one.severity == "error"]
        if errors:
            return errors[0]
    return _why_textless(_without_none(found))


def _why_textless(given: ProperType) -> str | None:
    if isinstance(given, TypedDictType):
        return "its type has no text of its own; name a value in it"
    if not isinstance(given, Instance):
        return None
    if any(map(given.type.has_base, _SECRETS)):
        return f"all values of {given.type.name!r} have one text"
    defined = given.type.get_containing_type_info("__str__")
    plain = defined is not None and defined.fullname in (_MODEL, "builtins.object")
    if plain and any(map(given.type.has_base, (_MODEL, "builtins.dict"))):
        return f"{given.type.name!r} has no text of its own; name a value in it"
    return None


def _without_none(given: Type) -> ProperType:
    proper = get_proper_type(given)
    if not isinstance(proper, UnionType):
        return proper
    items = [item for item in proper.items if not isinstance(get_proper_type(item), NoneType)]
    return get_proper_type(items[0]) if len(items) == 1 else proper
