"""Overrides dependencies in applications, and restores them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from fastapi import FastAPI

from .._app.runtime import STATE
from .._routes.registry import applications


class Overrides:
    """The same overrides in any number of applications.

    Args:
        overrides: What stands for which dependency.

    Attributes:
        apps: Where they were installed.
    """

    def __init__(self, overrides: Mapping[Callable[..., Any], Callable[..., Any]]) -> None:
        self._overrides = overrides
        self._removals = ExitStack()
        self.apps: list[FastAPI] = []

    def install(self, app: FastAPI) -> None:
        """Override in an application, and in those mounted in it."""
        if app in self.apps:
            return
        self.apps.append(app)
        for one in applications(app):
            self._install_in(one)

    def _install_in(self, app: FastAPI) -> None:
        had_runtime = hasattr(app.state, STATE)
        there = app.dependency_overrides
        for dependency, override in self._overrides.items():
            self._removals.callback(_restore, there, dependency, there.get(dependency))
            there[dependency] = override
        if not had_runtime:
            self._removals.callback(_forget_runtime, app)

    def remove(self) -> None:
        """Restore every application."""
        self._removals.close()
        self.apps.clear()


def _restore(
    overrides: dict[Callable[..., Any], Callable[..., Any]],
    dependency: Callable[..., Any],
    before: Callable[..., Any] | None,
) -> None:
    if before is None:
        overrides.pop(dependency, None)
    else:
        overrides[dependency] = before


def _forget_runtime(app: FastAPI) -> None:
    """Remove the runtime of requests without a lifespan; a lifespan removes its own."""
    runtime = getattr(app.state, STATE, None)
    if runtime is not None and runtime.client is None:
        delattr(app.state, STATE)
