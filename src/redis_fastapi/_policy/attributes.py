"""Attributes of a parameter that a template names, checked against its annotation.

Only closed types show what they lack: a pydantic model without extra values, a TypedDict.
An object of any other class may be given attributes at any time.

A template needs a text at the end. The text of a whole model contains every field, and that of a
secret nothing.
"""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typing_extensions
from pydantic import BaseModel, SecretBytes, SecretStr

from .facts import closest
from .signature import is_class


def why_lacking(annotation: Any, attributes: tuple[str, ...]) -> str | None:
    """Why no value of this annotation can have the attributes, and a text there; None where one
    may.
    """
    for attribute in attributes:
        names = _names(annotation := _bare(annotation))
        if names is None:
            return None
        if attribute not in names:
            meant = closest(attribute, frozenset(names))
            hint = f"; did you mean {meant!r}?" if meant else ""
            return f"{annotation.__name__!r} has no {attribute!r}{hint}"
        annotation = names[attribute]
    return _why_textless(_bare(annotation))


def _why_textless(annotation: Any) -> str | None:
    """Why a value has no text of its own; None if it may have one."""
    kind = get_origin(annotation) or annotation
    if is_class(kind, SecretStr, SecretBytes):
        return f"all values of {kind.__name__!r} have one text"
    filled = typing_extensions.is_typeddict(kind) or is_class(kind, dict, BaseModel)
    if filled and kind.__str__ in (BaseModel.__str__, dict.__str__):
        return f"{kind.__name__!r} has no text of its own; name a value in it"
    return None


def _bare(annotation: Any) -> Any:
    """The type without metadata, and without None next to one other type."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        others = [one for one in get_args(annotation) if one is not type(None)]
        return _bare(others[0]) if len(others) == 1 else annotation
    return annotation


def _names(annotation: Any) -> dict[str, Any] | None:
    """All attributes with their annotations, Any where it is not known; None where there may be
    more.
    """
    if typing_extensions.is_typeddict(annotation):
        return get_type_hints(annotation)
    if not is_class(annotation, BaseModel) or _is_open(annotation):
        return None
    fields = {name: field.annotation for name, field in annotation.model_fields.items()}
    private = dict.fromkeys(annotation.__private_attributes__, Any)
    return {**dict.fromkeys(dir(annotation), Any), **private, **fields}


def _is_open(model: type[BaseModel]) -> bool:
    """Whether values of a model may have attributes that it does not declare."""
    own_look_up = getattr(model, "__getattr__", None) is not getattr(BaseModel, "__getattr__", None)
    return own_look_up or model.model_config.get("extra") == "allow"
