"""What is behind a handler or an endpoint that others may have wrapped."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache, partial
from types import FunctionType
from typing import Any

import fastapi.routing
from fastapi.dependencies.models import Dependant

_CONTEXT = "_EffectiveRouteContext"

INCLUDES_LAZILY = hasattr(fastapi.routing, _CONTEXT)
"""Whether including a router leaves its routes unchanged and derives their context lazily."""

KEEPS_HANDLERS = not INCLUDES_LAZILY or "app" in vars(fastapi.routing)[_CONTEXT].__annotations__
"""Whether a handler is built once for each place where a route is served, not for each request."""

_WRAPPERS = 4
"""How many layers around FastAPI's handler, or around an endpoint, are searched."""


def dependant_within(handler: Any) -> Dependant | None:
    """The ``Dependant`` that a handler, or one that it wraps, closes over."""
    found: Dependant | None = held_within(handler, lambda one: isinstance(one, Dependant))
    return found


def held_within(function: Any, wanted: Callable[[Any], bool], layers: int = _WRAPPERS) -> Any:
    """The first thing wanted that a function, or one that it wraps, is or closes over, or None."""
    if wanted(function):
        return function
    if layers == 0:
        return None
    held = [
        cell.cell_contents for cell in getattr(function, "__closure__", None) or () if _filled(cell)
    ]
    if isinstance(function, partial):
        held = [function.func, *function.args, *function.keywords.values()]
    direct = next((one for one in held if wanted(one)), None)
    if direct is not None:
        return direct
    deeper = (held_within(one, wanted, layers - 1) for one in held if callable(one))
    return next((one for one in deeper if one is not None), None)


def is_fastapis(handler: Any) -> bool:
    """Whether FastAPI built a handler, and no instrumentation has wrapped it."""
    return is_defined_in(handler, "fastapi.routing")


def is_instrumented() -> bool:
    """Whether instrumentation has patched the functions of FastAPI's handlers, as logfire does."""
    routing = vars(fastapi.routing)
    return not _are_fastapis(routing["solve_dependencies"], routing["run_endpoint_function"])


@lru_cache
def _are_fastapis(solve: object, run: object) -> bool:
    own = is_defined_in(solve, "fastapi.dependencies.utils")
    return own and is_defined_in(run, "fastapi.routing")


def is_defined_in(function: Any, *modules: str) -> bool:
    """Whether this is a plain function of one of the named modules."""
    if type(function) is not FunctionType:
        return False
    # a replacement may bear the name of what it replaced, but has globals of its own
    own = (vars(sys.modules[name]) for name in modules if name in sys.modules)
    return any(function.__globals__ is names for names in own)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False
