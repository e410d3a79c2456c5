"""mypy plugin: checks the cache markers that mypy itself drops from ``Annotated``.

    [tool.mypy]
    plugins = ["redis_fastapi.mypy"]

Rules of the plugin
- It reports what ``redis_fastapi._rules`` says about the facts it can prove, under the same codes;
  a fact it cannot prove keeps the rule silent.
- It never changes a type, and never ends mypy: its own failure is one note.
- It keeps no state but caches that verify what they hold, so that dmypy may keep it running.
"""

from __future__ import annotations

from mypy.plugin import Plugin

from ._digest import own_digest
from ._plugin import RedisCachePlugin

__all__ = ["plugin"]

__version__ = own_digest()
"""Part of what mypy compares before it trusts its cache; changes with every line of the rules."""


def plugin(version: str) -> type[Plugin]:
    """Entry point for mypy."""
    return RedisCachePlugin
