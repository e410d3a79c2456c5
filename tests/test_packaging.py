"""What is shipped: the built wheel, its lower bounds, its type marker."""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "redis_fastapi"


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """Names of the files in a freshly built wheel."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed (dependency group test-base)")
    target = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return frozenset(archive.namelist())


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        table: dict[str, Any] = tomllib.load(file)["project"]
    return table


def source_names() -> frozenset[str]:
    files = (path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return frozenset(path.relative_to(PACKAGE.parent).as_posix() for path in files)


def bounds(project: dict[str, Any]) -> set[str]:
    extras = project["optional-dependencies"].values()
    return set(project["dependencies"]).union(*extras)


def test_wheel_holds_the_package_and_nothing_else(wheel_names: frozenset[str]) -> None:
    shipped = {name for name in wheel_names if ".dist-info/" not in name}
    assert shipped == source_names()


def test_wheel_marks_the_package_as_typed(wheel_names: frozenset[str]) -> None:
    assert "redis_fastapi/py.typed" in wheel_names


def test_wheel_carries_the_lua_scripts(wheel_names: frozenset[str]) -> None:
    scripts = {name for name in source_names() if name.endswith(".lua")}
    assert scripts
    assert scripts <= wheel_names


def test_wheel_carries_the_licence(wheel_names: frozenset[str]) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in wheel_names)


def test_every_lower_bound_is_a_pin_of_the_oldest_set(project: dict[str, Any]) -> None:
    lines = (ROOT / ".ci" / "oldest.txt").read_text().splitlines()
    pins = {line for line in lines if line and not line.startswith("#")}
    assert pins == {bound.replace(">=", "==") for bound in bounds(project)}


def test_every_entry_point_can_be_loaded(project: dict[str, Any]) -> None:
    named = [
        target
        for table in (project.get("scripts", {}), *project["entry-points"].values())
        for target in table.values()
    ]
    assert named
    for target in named:
        module, _, attribute = target.partition(":")
        found = importlib.import_module(module)
        assert not attribute or callable(getattr(found, attribute))
