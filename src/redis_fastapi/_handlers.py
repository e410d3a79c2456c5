"""The dependencies behind a handler that FastAPI built and others may have wrapped."""

from __future__ import annotations

from functools import partial
from types import FunctionType, ModuleType
from typing import Any

import fastapi.dependencies.utils
import fastapi.routing
from fastapi.dependencies.models import Dependant

INCLUDES_LAZILY = hasattr(fastapi.routing, "_EffectiveRouteContext")
"""Whether including a router leaves its routes unchanged and derives their context lazily."""

_WRAPPERS = 4
"""How many layers around FastAPI's handler are searched."""


def dependant_within(handler: Any, layers: int = _WRAPPERS) -> Dependant | None:
    """The ``Dependant`` that a handler, or one that it wraps, closes over."""
    if isinstance(handler, Dependant) or layers == 0:
        return handler if isinstance(handler, Dependant) else None
    held = [
        cell.cell_contents for cell in getattr(handler, "__closure__", None) or () if _filled(cell)
    ]
    if isinstance(handler, partial):
        held = [handler.func, *handler.args, *handler.keywords.values()]
    direct = next((one for one in held if isinstance(one, Dependant)), None)
    if direct is not None:
        return direct
    deeper = (dependant_within(one, layers - 1) for one in held if callable(one))
    return next((one for one in deeper if one is not None), None)


def is_fastapis(handler: Any) -> bool:
    """Whether FastAPI built a handler, and nothing that hears of requests stands round it."""
    return _is_of(fastapi.routing, handler)


def is_instrumented() -> bool:
    """Whether something hears of requests within FastAPI's handlers, as logfire does."""
    routing = vars(fastapi.routing)
    solve, run = routing["solve_dependencies"], routing["run_endpoint_function"]
    return not (_is_of(fastapi.dependencies.utils, solve) and _is_of(fastapi.routing, run))


def _is_of(module: ModuleType, function: Any) -> bool:
    # a replacement may bear the name of what it replaced, but has globals of its own
    return type(function) is FunctionType and function.__globals__ is vars(module)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
