"""The pytest plugin: the fixture ``redis_cache``.

pytest imports this module wherever the library is installed, so the library itself is imported by
the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import MemoryCache


@pytest.fixture
def redis_cache() -> Iterator[MemoryCache]:
    """A ``redis_fastapi.testing.MemoryCache`` of this test's own; ``redis_cache.install(app)``."""
    testing = import_module("redis_fastapi.testing")
    with testing.MemoryCache() as cache:
        yield cache
