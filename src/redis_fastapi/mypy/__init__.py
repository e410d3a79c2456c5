"""mypy plugin: checks cache markers, which mypy itself ignores in ``Annotated``.

    [tool.mypy]
    plugins = ["redis_fastapi.mypy"]

Rules of the plugin
- It applies the rules of ``redis_fastapi._policy.rules``, with the same codes, to facts that it can
  prove; a rule that needs any other fact is not applied.
- It never changes a type and never aborts mypy: an internal error is reported as a note, once.
- Its only state is caches that validate their entries, so that dmypy can keep it running.
"""

from __future__ import annotations

from mypy.plugin import Plugin

from ._digest import own_digest
from ._plugin import RedisCachePlugin

__all__ = ["plugin"]

__version__ = own_digest()
"""Changes with every change of plugin or rules; mypy compares it before it trusts its cache."""


def plugin(version: str) -> type[Plugin]:
    """Entry point for mypy."""
    return RedisCachePlugin
