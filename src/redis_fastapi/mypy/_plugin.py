"""The plugin's hooks, none of which can abort mypy."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from mypy.options import Options
from mypy.plugin import (
    AnalyzeTypeContext,
    FunctionContext,
    MethodContext,
    Plugin,
    ReportConfigContext,
)
from mypy.types import Type

from ._calls import DEPENDENCIES, app_made, dependency_made, marker_made, router_made
from ._digest import metadata_digest
from ._endpoint import Endpoints
from ._metadata import ANNOTATED, Annotations
from ._placement import check_placement
from ._report import PARENT
from ._sources import Sources, is_project_file
from ._values import MARKER_KINDS

C = TypeVar("C", AnalyzeTypeContext, FunctionContext, MethodContext)

_VERBS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
_FAILED: Final = "the redis_fastapi plugin failed and left something unchecked:"
_ROUTERS: Final = ("fastapi.routing.APIRouter", "fastapi.applications.FastAPI")


class RedisCachePlugin(Plugin):
    """Selects hooks by the qualified names that mypy passes."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._sources = Sources(options)
        self._annotations = Annotations(self._sources)
        self._analyzing = False
        endpoints = Endpoints(self._sources, self._annotations)
        self._functions: dict[str, Callable[[FunctionContext], Type]] = {
            **dict.fromkeys(MARKER_KINDS, _unbroken(marker_made)),
            **{
                name: _unbroken(partial(dependency_made, kind))
                for name, kind in DEPENDENCIES.items()
            },
            "fastapi.routing.APIRouter": _unbroken(router_made),
            "fastapi.applications.FastAPI": _unbroken(app_made),
        }
        self._methods: dict[str, Callable[[MethodContext], Type]] = {
            f"{owner}.{name}": _unbroken(partial(_checked, partial(endpoints.check, name)))
            for owner in _ROUTERS
            for name in (*_VERBS, "api_route", "add_api_route")
        }

    def get_function_hook(self, fullname: str) -> Callable[[FunctionContext], Type] | None:
        """Calls of markers, routers and dependencies."""
        return self._functions.get(fullname)

    def get_method_hook(self, fullname: str) -> Callable[[MethodContext], Type] | None:
        """``router.get`` and similar methods."""
        return self._methods.get(fullname)

    def get_type_analyze_hook(self, fullname: str) -> Callable[[AnalyzeTypeContext], Type] | None:
        """``Annotated`` in annotations."""
        if fullname not in ANNOTATED:
            return None
        if self._analyzing:
            # mypy analyzing the type whose hook is running
            self._analyzing = False
            return None
        return self._annotated

    def _annotated(self, ctx: AnalyzeTypeContext) -> Type:
        _guard(partial(check_placement, self._sources, self._annotations), ctx)
        self._analyzing = True
        try:
            return ctx.api.analyze_type(ctx.type)
        finally:
            self._analyzing = False

    def report_config_data(self, ctx: ReportConfigContext) -> str | None:
        """The digest whose change makes mypy recheck the users of a module."""
        text = self._sources.text(ctx.path) if is_project_file(ctx.path) else None
        return metadata_digest(text) if text is not None else None


def _checked(check: Callable[[MethodContext], None], ctx: MethodContext) -> Type:
    check(ctx)
    return ctx.default_return_type


F = TypeVar("F", FunctionContext, MethodContext)


def _unbroken(hook: Callable[[F], Type]) -> Callable[[F], Type]:
    """The hook, which gives mypy's own type and a note if it raises."""

    def analyze_or_default(ctx: F) -> Type:
        found = _guard(hook, ctx)
        return found if found is not None else ctx.default_return_type

    return analyze_or_default


R = TypeVar("R")


def _guard(hook: Callable[[C], R], ctx: C) -> R | None:
    """The result of a hook; None if it raises, with one note per run."""
    try:
        return hook(ctx)
    except Exception as error:
        _note_failure(error, ctx)
        return None


def _note_failure(
    error: Exception, ctx: AnalyzeTypeContext | FunctionContext | MethodContext
) -> None:
    # during semantic analysis, the type analyzer's api wraps the one with errors
    api: Any = getattr(ctx.api, "api", ctx.api)
    if any(message.startswith(_FAILED) for message in api.errors.only_once_messages):
        return
    last = traceback.extract_tb(error.__traceback__)[-1]
    message = (
        f"{_FAILED} {type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno})"
    )
    line = max(ctx.context.line, 1)
    api.errors.report(line, 0, message, code=PARENT, severity="note", only_once=True)
