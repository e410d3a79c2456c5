"""What importing the package gives, and what it costs."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import Any

import pytest

import redis_fastapi
from redis_fastapi import _HOMES


def fresh(code: str) -> str:
    """Run code in an interpreter of its own."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_public_names_are_sorted_and_each_has_a_home() -> None:
    assert redis_fastapi.__all__ == sorted(redis_fastapi.__all__)
    assert sorted(_HOMES) == redis_fastapi.__all__


@pytest.mark.parametrize("name", redis_fastapi.__all__)
def test_every_public_name_is_there(name: str) -> None:
    value = getattr(redis_fastapi, name)

    assert value is not None
    assert name in dir(redis_fastapi)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    package: Any = redis_fastapi

    with pytest.raises(AttributeError, match="no attribute 'Chached'"):
        _ = package.Chached
    with pytest.raises(ImportError, match="Chached"):
        exec("from redis_fastapi import Chached")


def test_a_star_import_brings_every_public_name() -> None:
    names: dict[str, Any] = {}
    exec("from redis_fastapi import *", names)

    assert set(redis_fastapi.__all__) <= set(names)


def test_the_plugin_does_not_import_fastapi() -> None:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed (dependency group lint)")
    heavy = "{'fastapi', 'pydantic', 'redis', 'starlette'}"

    loaded = fresh(f"import redis_fastapi.mypy, sys; print(sorted({heavy} & set(sys.modules)))")
    control = fresh(
        f"from redis_fastapi import CacheRoute; import sys; print(len({heavy} & set(sys.modules)))"
    )

    assert (loaded, control) == ("[]", "4")
