"""What the plugin promises besides its errors: it ends no run, changes no type, hides no option."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from mypy_plugin.mypy_runs import FLAGS, PYTHON, Project, Run

WRONG = """
from typing import Annotated
from fastapi import APIRouter, Depends
from pydantic import BaseModel
from redis_fastapi import Cached, CacheRoute, cache

class Product(BaseModel):
    id: int

Kept = Annotated[Product, Cached(ttl=0)]
router = APIRouter(route_class=CacheRoute)
field: Annotated[Product, Cached(ttl=5)]

@router.get("/one", dependencies=[Depends(cache(ttl=-1))])
async def one() -> Annotated[Product, Cached(ttl=0)]: return Product(id=1)

@router.get("/two")
async def two() -> Kept: return Product(id=1)
"""

BROKEN_RULES = """
from redis_fastapi.mypy import _calls, _endpoint, _placement

def broken_rule(facts):
    raise LookupError(f"a broken rule of {facts.name}")

_calls.check = _endpoint.check = _placement.check = broken_rule
"""

REVEALED = """
reveal_type(Cached(ttl=5))
reveal_type(router)
reveal_type(router.get)
reveal_type(router.get("/x"))
reveal_type(one)
reveal_type(two)
reveal_type(cache(ttl=5))
reveal_type([Cached(ttl=5), Cached(ttl=6)])
reveal_type({"a": router, "b": APIRouter()})
reveal_type(Product(id=1))
reveal_type(field)
marker = Cached(ttl=5)
marker = Cached(ttl=6)
routers: list[APIRouter] = [router, APIRouter()]
def make() -> APIRouter: return router
same: bool = Cached(ttl=5) == Cached(ttl=6)
"""


NOT_READ = """
[mypy-pydantic.*,pydantic_core.*,pydantic_settings.*,starlette.*,redis.*,anyio.*]
follow_imports = skip
"""

TYPE_VARIABLE = re.compile(r"`-?\d+")
"""The number that mypy gives to a type variable; it counts what it has seen before."""


@pytest.fixture
def project(tmp_path: Path, seed: Path) -> Project:
    return Project(tmp_path / "project").seeded(seed)


def test_a_failure_in_the_plugin_is_one_note_and_the_run_goes_on(
    project: Project, tmp_path: Path
) -> None:
    project.write("wrong.py", WRONG + "\nnumber: int = 'text'\n")
    project.write("also_wrong.py", WRONG)
    (tmp_path / "sitecustomize.py").write_text(BROKEN_RULES)

    run = project.run(before=tmp_path)

    failures = [one for one in run.said if "plugin failed" in one.message]
    workers = 2 if any(flag.startswith("-n") for flag in FLAGS) else 1
    assert "INTERNAL ERROR" not in run.output + run.errors
    assert 1 <= len(failures) <= workers
    assert {one.severity for one in failures} == {"note"}
    assert "LookupError: a broken rule of " in failures[0].message
    assert [one.code for one in run.of("error")] == ["assignment"]


def test_errors_of_mypy_itself_are_no_failure_of_the_plugin(project: Project) -> None:
    route = '@router.get("/three")\nasync def three() -> Annotated[()]: ...\n'
    project.write("wrong.py", WRONG + route)

    run = project.run()

    assert not [one.message for one in run.said if "plugin failed" in one.message]
    assert [one.code for one in run.of("error")].count("redis-cache-value") == 3


def test_control_with_the_rules_intact_the_same_project_has_errors(project: Project) -> None:
    project.write("wrong.py", WRONG)

    codes = [one.code for one in project.run().of("error")]

    assert codes.count("redis-cache-value") == 3
    assert codes.count("redis-cache-misplaced") == 1


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory, mypy: tuple[int, ...]) -> Project:
    """A project that mypy checks without the plugin."""
    return Project(tmp_path_factory.mktemp("bare"), plugins=())


def test_every_type_is_the_same_with_and_without_the_plugin(
    project: Project, bare: Project
) -> None:
    text = WRONG.replace("ttl=0", "ttl=5").replace("ttl=-1", "ttl=5")
    text = text.replace("field: Annotated[Product, Cached(ttl=5)]", "field: Product") + REVEALED
    for one in (project, bare):
        one.write("revealed.py", f"# mypy: warn-unreachable\n{text}")

    with_plugin, without = project.run(), bare.run()

    assert unnumbered(with_plugin) == unnumbered(without)
    assert len(without.of("note")) == REVEALED.count("reveal_type(")
    assert 'Revealed type is "def () -> typing.Coroutine[Any, Any, revealed.Product]"' in (
        without.output
    )


def unnumbered(run: Run) -> str:
    return TYPE_VARIABLE.sub("`", run.output)


@pytest.mark.parametrize("codes", ["redis-cache", "redis-cache-value, redis-cache-misplaced"])
def test_the_codes_can_be_turned_off(codes: str, project: Project) -> None:
    project.write("wrong.py", f'# mypy: disable-error-code="{codes}"\n{WRONG}')

    assert "Success" in project.run().output


def test_any_from_the_plugin_causes_no_error_elsewhere(project: Project, bare: Project) -> None:
    right = WRONG.replace("ttl=0", "ttl=5, when=lambda one: one.id > 1").replace("ttl=-1", "ttl=5")
    right = right.replace("field: Annotated[Product, Cached(ttl=5)]", "")
    for one in (project, bare):
        one.write("right.py", f"# mypy: disallow-any-expr\n{right}")

    with_plugin, without = project.run("right.py"), bare.run("right.py")

    assert with_plugin.output == without.output
    assert "Expression type contains" in without.output


def test_a_file_for_a_newer_python_is_reported_as_unchecked(
    project: Project, mypy: tuple[int, ...]
) -> None:
    if sys.version_info >= (3, 12) or sys.executable != PYTHON:
        pytest.skip("the Python that runs mypy parses every syntax there is")
    if mypy < (2, 4) or "--no-native-parser" in FLAGS:
        pytest.skip("this mypy parses with the Python that runs it")
    project.write("newer.py", WRONG + "\ntype Number = int\n")
    # another version of Python has a cache of its own, which starts empty
    project.configure(NOT_READ)

    run = project.run("--python-version=3.13", "newer.py")

    notes = [one.message for one in run.of("note") if "cannot parse this file" in one.message]
    assert len(notes) == 1
    assert "run mypy on the Python of the project" in notes[0]
