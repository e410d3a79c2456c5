"""An edit in one file is seen where its names are used, whatever mypy kept from the last run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mypy_plugin.mypy_runs import FLAGS, Project, Run

DECLARED = """
from typing import Annotated, Final

from fastapi import APIRouter, Depends
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from redis_fastapi import Cached, CachePut, CacheRoute

bearer = HTTPBearer()

class Product(BaseModel):
    id: int

class User(BaseModel):
    id: int

def nobody() -> None: ...

def current_user(seen: Annotated[None, Depends(nobody)]) -> User:
    return User(id=1)

router = APIRouter(route_class=CacheRoute)
LIFETIME: Final = 300
MARK = Cached(ttl=300)
Kept = Annotated[Product, Cached(ttl=300)]
Outer = Kept

def lasting(seconds: int) -> Cached:
    return Cached(ttl=seconds)

async def handler() -> Annotated[Product, Cached(ttl=300)]:
    return Product(id=1)
"""

USED = """
from typing import Annotated

from fastapi import Depends
from .declared import (
    LIFETIME, MARK, Kept, Outer, Product, User, current_user, handler, lasting, router
)
from redis_fastapi import Cached

UserDep = Annotated[User, Depends(current_user)]

@router.get("/alias")
async def by_alias() -> Kept: return Product(id=1)

@router.get("/outer")
async def by_outer() -> Outer: return Product(id=1)

@router.get("/mark")
async def by_mark() -> Annotated[Product, MARK]: return Product(id=1)

@router.get("/constant")
async def by_constant() -> Annotated[Product, Cached(ttl=LIFETIME)]: return Product(id=1)

@router.get("/factory")
async def by_factory() -> Annotated[Product, lasting(5)]: return Product(id=1)

@router.get("/user")
async def by_user(user: UserDep) -> Annotated[Product, Cached(ttl=300, group="u:{user.id}")]:
    return Product(id=1)

router.add_api_route("/handler", handler)
"""


class Edit(NamedTuple):
    """A change of one file, the codes it must bring, and whether dmypy sees it by itself."""

    old: str
    new: str
    codes: tuple[str, ...]
    file: str = "declared.py"
    daemon: bool = True


SECURED = ("redis-cache-secured",)
VALUE = ("redis-cache-value",)
EDITS = {
    "alias": Edit(
        "Kept = Annotated[Product, Cached(ttl=300)]",
        "Kept = Annotated[Product, Cached(ttl=0)]",
        VALUE * 2,
        daemon=False,
    ),
    "marker": Edit("MARK = Cached(ttl=300)", "MARK = Cached(ttl=0)", VALUE),
    "constant": Edit("Final = 300", "Final = 0", VALUE),
    "router": Edit("route_class=CacheRoute", "", ("redis-cache-route",) * 7),
    "factory": Edit("seconds: int", "seconds: str", ("arg-type",) * 2),
    "model": Edit(
        "class User(BaseModel):\n    id",
        "class User(BaseModel):\n    number",
        ("call-arg", "redis-cache-placeholder"),
    ),
    "security": Edit("Depends(nobody)", "Depends(bearer)", SECURED, daemon=False),
    "handler": Edit(
        "async def handler() -> Annotated[Product, Cached(ttl=300)]",
        "async def handler() -> Annotated[Product, CachePut()]",
        ("redis-cache-method",),
        daemon=False,
    ),
    "own file": Edit(
        "by_alias() -> Kept",
        "by_alias() -> list[Kept]",
        ("redis-cache-misplaced", "return-value"),
        "used.py",
    ),
}
FILES = {"declared.py": DECLARED, "used.py": USED}


def lay_out(project: Project, package: str, edit: Edit | None = None) -> None:
    """Write the package, with one edit or none."""
    (project.root / package).mkdir(exist_ok=True)
    project.write(f"{package}/__init__.py", "")
    for name, text in FILES.items():
        if edit is not None and edit.file == name:
            assert edit.old in text
            text = text.replace(edit.old, edit.new)
        project.write(f"{package}/{name}", text)


def said_of(run: Run, package: str) -> list[str]:
    """The messages of a run about one package, without the package's name."""
    prefix = f"{package}/"
    lines = [line for line in run.output.splitlines() if line.startswith(prefix)]
    return sorted(line.removeprefix(prefix) for line in lines)


def codes_of(run: Run) -> list[str]:
    return sorted(one.code for one in run.of("error"))


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory, seed: Path) -> dict[str, list[str]]:
    """The messages of a first run over all edited projects."""
    project = Project(tmp_path_factory.mktemp("cold")).seeded(seed)
    packages = {name: f"p{index}" for index, name in enumerate(EDITS)}
    for name, package in packages.items():
        lay_out(project, package, EDITS[name])
    run = project.run(*packages.values())
    return {name: said_of(run, package) for name, package in packages.items()}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory, seed: Path) -> Project:
    """A project that mypy has seen without an edit."""
    project = Project(tmp_path_factory.mktemp("warm")).seeded(seed)
    lay_out(project, "p")
    run = project.run("p")
    assert "Success" in run.output, run.output
    return project


@pytest.mark.parametrize("name", EDITS)
def test_a_warm_run_reports_what_a_cold_run_reports(
    name: str, warm: Project, cold: dict[str, list[str]]
) -> None:
    lay_out(warm, "p", EDITS[name])

    run = warm.run("p")

    assert said_of(run, "p") == cold[name]
    assert codes_of(run) == sorted(EDITS[name].codes)


def test_a_warm_run_is_clean_again_once_the_edits_are_gone(warm: Project) -> None:
    lay_out(warm, "p", EDITS["alias"])
    broken = warm.run("p")
    lay_out(warm, "p")

    assert broken.of("error")
    assert "Success" in warm.run("p").output


class Daemon:
    """dmypy on one project."""

    def __init__(self, project: Project) -> None:
        self.project = project

    def command(self, *arguments: str) -> Run:
        return self.project.execute("mypy.dmypy", "--status-file", "status.json", *arguments)

    def run(self) -> Run:
        return self.command("run", "--", *FLAGS, "--cache-dir", "cache", "p")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, mypy: tuple[int, ...]) -> Iterator[Daemon]:
    if any(flag.startswith("-n") for flag in FLAGS):
        pytest.skip("dmypy does not check in parallel")
    project = Project(tmp_path_factory.mktemp("daemon"))
    lay_out(project, "p")
    made = Daemon(project)
    try:
        run = made.run()
        assert "Success" in run.output, run
        yield made
    finally:
        made.command("stop")


@pytest.mark.parametrize("name", [name for name, edit in EDITS.items() if edit.daemon])
def test_the_daemon_sees_an_edit(name: str, daemon: Daemon) -> None:
    lay_out(daemon.project, "p", EDITS[name])

    run = daemon.run()

    assert codes_of(run) == sorted(EDITS[name].codes)


@pytest.mark.parametrize("name", [name for name, edit in EDITS.items() if not edit.daemon])
def test_the_daemon_sees_metadata_of_another_file_once_its_user_is_edited(
    name: str, daemon: Daemon
) -> None:
    lay_out(daemon.project, "p", EDITS[name])
    daemon.run()
    daemon.project.write("p/used.py", USED + "\n_EDITED = True\n")

    run = daemon.run()

    assert codes_of(run) == sorted(EDITS[name].codes)
