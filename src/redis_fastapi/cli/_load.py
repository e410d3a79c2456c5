"""An application from its name on the command line: ``package.module:app``."""

from __future__ import annotations

import os
import sys
from importlib import import_module

from fastapi import FastAPI

from .._routes.registry import Registry, served_by
from .._setup.adopt import adopt_routes
from ..exceptions import CacheError, CacheSetupError


def load_app(name: str) -> FastAPI:
    """Import an application; the current directory is searched first, as by uvicorn.

    Raises:
        CacheError: Where there is no such application, or a declaration of it is wrong.
    """
    module, _, attribute = name.partition(":")
    if not attribute:
        raise CacheSetupError(f"{name!r} names no application: write it as module:app")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found = _attribute(_module(module), attribute, name)
    if not isinstance(found, FastAPI):
        raise CacheSetupError(f"{name!r} is no FastAPI application but {type(found).__name__}")
    adopt_routes(found.router)
    return found


def _module(name: str) -> object:
    try:
        return import_module(name)
    except CacheError:
        raise
    except Exception as error:  # an application's module may raise anything
        raise CacheSetupError(f"{name!r} cannot be imported: {error!r}") from error


def _attribute(found: object, path: str, name: str) -> object:
    for part in path.split("."):
        if not hasattr(found, part):
            raise CacheSetupError(f"{name!r}: there is no {part!r}")
        found = getattr(found, part)
    return found


def registry_of(app: FastAPI) -> Registry:
    """What the application serves."""
    return Registry(served_by(app.routes))
