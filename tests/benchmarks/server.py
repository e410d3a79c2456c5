"""Builds a measured application for uvicorn: ``uvicorn --factory benchmarks.server:build``."""

from __future__ import annotations

import importlib
import os

from starlette.applications import Starlette


def build() -> Starlette:
    """The application that the environment names."""
    module = importlib.import_module(f"benchmarks.apps.{os.environ['BENCH_APP']}")
    app: Starlette = module.build(size=int(os.environ["BENCH_SIZE"]))
    return app
