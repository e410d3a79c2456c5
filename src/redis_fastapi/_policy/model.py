"""A text that changes with what a route's response model sends."""

from __future__ import annotations

import json
from typing import Any

from fastapi.datastructures import DefaultPlaceholder
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError


def model_text(route: APIRoute) -> str:
    """The schema of a route's response model, and its serialization options."""
    chosen = route.response_class
    rendered_by = chosen.value if isinstance(chosen, DefaultPlaceholder) else chosen
    written = (
        _ordered(route.response_model_include),
        _ordered(route.response_model_exclude),
        route.response_model_by_alias,
        route.response_model_exclude_unset,
        route.response_model_exclude_defaults,
        route.response_model_exclude_none,
        rendered_by.__name__,
    )
    return f"{_schema_text(route)} {written!r}"


def _ordered(chosen: Any) -> Any:
    """Sets as sorted lists: the order of a set differs between processes."""
    if isinstance(chosen, dict):
        return {name: _ordered(below) for name, below in chosen.items()}
    return sorted(chosen, key=repr) if isinstance(chosen, (set, frozenset)) else chosen


def _schema_text(route: APIRoute) -> str:
    if route.response_field is None:
        return "none"
    annotation: Any = route.response_field.field_info.annotation
    try:
        schema = TypeAdapter(annotation).json_schema(mode="serialization")
    except PydanticUserError:
        return repr(annotation)
    return json.dumps(schema, sort_keys=True, default=repr)
