"""The event loop of every measured process."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Coroutine
from importlib.util import find_spec
from typing import Any


def runner() -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a coroutine on uvloop, where there is one."""
    loop = importlib.import_module("uvloop" if find_spec("uvloop") else "asyncio")
    run: Callable[[Coroutine[Any, Any, None]], None] = loop.run
    return run
