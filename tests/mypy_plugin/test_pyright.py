"""Another type checker sees the model, and nothing of the markers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mypy_plugin.mypy_runs import SOURCES

TEXT = """
from collections.abc import Coroutine
from typing import Annotated, Any, assert_type

from pydantic import BaseModel
from redis_fastapi import Cached, CacheEvict, CachePut


class Product(BaseModel):
    id: int


Kept = Annotated[Product, Cached(ttl=5)]


async def one() -> Annotated[Product, Cached(ttl=300, group="products")]:
    return Product(id=1)


def rows() -> Annotated[list[Product], CachePut(), CacheEvict(group="a")]:
    return []


def kept() -> Kept:
    return Product(id=1)


async def main() -> None:
    assert_type(await one(), Product)
    assert_type(rows(), list[Product])
    assert_type(kept(), Product)
    assert_type((await one()).id, int)


def wrong() -> Annotated[Product, Cached(tll=5)]:
    return Product(id="text")
"""


def pyright() -> str:
    folder = Path(sys.executable).parent
    for name in ("basedpyright", "pyright"):
        found = shutil.which(name, path=str(folder)) or shutil.which(name)
        if found is not None:
            return found
    pytest.skip("no pyright is installed (pip install basedpyright)")


def test_pyright_sees_the_return_type_as_exactly_the_model(tmp_path: Path) -> None:
    command = pyright()
    (tmp_path / "app.py").write_text(TEXT)
    settings = {"extraPaths": [str(SOURCES)], "typeCheckingMode": "standard"}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))

    done = subprocess.run(
        [command, "--outputjson", "--pythonpath", sys.executable, "app.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    said = [
        (one["range"]["start"]["line"] + 1, one["rule"])
        for one in json.loads(done.stdout)["generalDiagnostics"]
        if one["severity"] == "error"
    ]
    first = TEXT.splitlines().index("def wrong() -> Annotated[Product, Cached(tll=5)]:") + 1
    assert said == [(first, "reportCallIssue"), (first + 1, "reportArgumentType")]
