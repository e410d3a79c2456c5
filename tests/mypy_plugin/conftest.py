"""One filled cache for all tests of the plugin, and the reason to skip where mypy is missing."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mypy_plugin.mypy_runs import Project, mypy_version

WARM_UP = """
import fastapi.security, pydantic, redis_fastapi, starlette.responses, typing_extensions
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
"""


@pytest.fixture(scope="session")
def mypy() -> tuple[int, ...]:
    """The version of mypy, at least 1.18."""
    version = mypy_version()
    if version < (1, 18):
        pytest.skip("mypy 1.18 or newer is not installed (dependency group lint)")
    return version


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory, mypy: tuple[int, ...]) -> Path:
    """A cache that knows the installed packages, so that each test checks only its own files."""
    root = directory_of_all_workers(tmp_path_factory) / "seed"
    project, finished = Project(root), root / "finished"
    with alone(root):
        if not finished.exists():
            project.write("warm_up.py", WARM_UP)
            run = project.run()
            assert "Success" in run.output, run
            finished.touch()
    return project.cache


def directory_of_all_workers(factory: pytest.TempPathFactory) -> Path:
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep the other processes that work in this directory waiting."""
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
