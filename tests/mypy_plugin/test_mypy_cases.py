"""Every case file, in one run of mypy and once more at run time.

A line says what is expected of it. ``# E:41 redis-cache-value ttl=0`` is an error of mypy in that
column (optional), of that code, whose message holds that text. The statement round it must raise
the same code at registration or at start-up, unless ``# static: reason`` says that run time cannot
see it. ``# R: code`` expects an error of run time alone, ``# N: text`` a note with that text, and
``# needs: module`` an installed module.
"""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from fastapi import APIRouter, FastAPI

from mypy_plugin.mypy_runs import CASES, Project, Run, Said
from redis_fastapi import CacheDeclarationError, FastAPIRedis, RedisSettings
from redis_fastapi._policy.rules import RULES
from support import start_up

EXPECTED = re.compile(r"# E:(\d*) ([\w-]+) (.*?)(?=\s*# |$)")
RAISED = re.compile(r"# R: ([\w-]+)")
NOTED = re.compile(r"# N: (.*?)(?=\s*# |$)")
NEEDED = re.compile(r"# needs: (\w+)")
SHARED = "shop_types.py"
NEWER = "py312_" if sys.version_info < (3, 12) else "never"
"""How files begin that this Python cannot parse."""
FILES = sorted(path.name for path in CASES.glob("*.py") if not path.name.startswith(NEWER))


class Expected(NamedTuple):
    """One error that a line announces."""

    line: int
    column: int | None
    code: str
    text: str

    def meets(self, said: Said) -> bool:
        """Whether mypy printed exactly this."""
        place = self.line == said.line and self.column in (None, said.column)
        return place and self.code == said.code and self.text in said.message


def text_of(name: str) -> str:
    return (CASES / name).read_text(encoding="utf-8")


def expected_in(text: str) -> list[Expected]:
    return [
        Expected(number, int(column) if column else None, code, part)
        for number, line in enumerate(text.splitlines(), 1)
        for column, code, part in EXPECTED.findall(line)
    ]


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory, seed: Path) -> Run:
    """All case files in one run."""
    project = Project(tmp_path_factory.mktemp("cases")).seeded(seed)
    for name in FILES:
        shutil.copy(CASES / name, project.root / name)
    return project.run("--warn-unused-ignores", *FILES)


def test_mypy_finishes(checked: Run) -> None:
    assert (checked.status, checked.errors) == (1, "")
    assert "plugin failed" not in checked.output


@pytest.mark.parametrize("name", FILES)
def test_mypy_reports_the_expected_errors_and_no_others(name: str, checked: Run) -> None:
    expected = expected_in(text_of(name))
    said = [one for one in checked.of("error") if one.file == name]

    unmet = [one for one in expected if not any(one.meets(other) for other in said)]
    unexpected = [one for one in said if not any(other.meets(one) for other in expected)]

    assert (unmet, unexpected) == ([], [])
    assert len(said) == len(expected)


def test_the_notes_of_mypy_are_as_expected(checked: Run) -> None:
    expected = [
        (name, number, text)
        for name in FILES
        for number, line in enumerate(text_of(name).splitlines(), 1)
        for text in NOTED.findall(line)
    ]
    said = [(one.file, one.line, one.message) for one in checked.of("note")]

    for name, number, text in expected:
        assert any(one[:2] == (name, number) and text in one[2] for one in said), (name, text)
    assert expected


def test_every_error_shows_what_to_write_instead(checked: Run) -> None:
    fixes = {one[:2] for one in checked.of("note") if one.message.startswith("Write instead: ")}
    errors = {one[:2] for one in checked.of("error") if one.code.startswith("redis-cache")}

    assert errors == fixes != set()


def test_the_cases_show_every_rule_that_mypy_can_prove() -> None:
    shown = {one.code for name in FILES for one in expected_in(text_of(name))}

    assert {rule.code for rule in RULES if rule.seen.startswith("mypy")} <= shown


# The same lines at run time


class Statement(NamedTuple):
    """A top-level statement of a case file, and the codes that its lines announce."""

    text: str
    node: ast.stmt
    codes: frozenset[str]

    @property
    def runs(self) -> bool:
        """Whether nothing is announced, or nothing that run time could see."""
        return not self.codes or "# static: " in self.text

    @property
    def breaks(self) -> bool:
        """Whether it must raise one of our errors; for mypy's own codes, Python has its own."""
        return not self.runs and any(code.startswith("redis-cache") for code in self.codes)

    @property
    def name(self) -> str:
        """What a reader looks for."""
        return str(getattr(self.node, "name", self.text.split(" ")[0]))


def statements_of(file: str) -> list[Statement]:
    text = text_of(file)
    return [_statement(node, text.splitlines()) for node in ast.parse(text).body]


def _statement(node: ast.stmt, lines: list[str]) -> Statement:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(one.lineno for one in decorators)])
    text = "\n".join(lines[first - 1 : node.end_lineno])
    return Statement(
        text, node, frozenset({one.code for one in expected_in(text)} | {*RAISED.findall(text)})
    )


def executed(statements: list[Statement], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run statements as a module, on a fresh copy of the module that all cases share."""
    names: dict[str, Any] = {}
    for name, body in (("shop_types", statements_of(SHARED)), ("case", statements)):
        module = ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        tree = ast.Module([one.node for one in body], [])
        names = vars(module)
        exec(compile(tree, name, "exec", dont_inherit=True), names)
    return names


def start(names: dict[str, Any]) -> None:
    """Serve everything that a case makes."""
    whole = FastAPI()
    for router in names.values():
        if isinstance(router, APIRouter):
            whole.include_router(router)
    for app in (whole, *(one for one in names.values() if isinstance(one, FastAPI))):
        FastAPIRedis(app, RedisSettings(url="memory://", deadline=5)).lifespan()
        start_up(app)


def breaking_statements() -> Iterator[Any]:
    for file in FILES:
        for index, statement in enumerate(statements_of(file)):
            if statement.breaks:
                yield pytest.param(file, index, id=f"{file}:{statement.name}")


@pytest.mark.parametrize(("file", "index"), list(breaking_statements()))
def test_run_time_raises_the_same_code(
    file: str, index: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = statements_of(file)
    wrong = statements[index]
    for module in NEEDED.findall(wrong.text):
        pytest.importorskip(module)
    before = [one for one in statements[:index] if one.runs]

    with pytest.raises(CacheDeclarationError) as caught:
        start(executed([*before, wrong], monkeypatch))

    assert caught.value.code in wrong.codes


@pytest.mark.parametrize("file", FILES)
def test_run_time_accepts_what_mypy_accepts(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start(executed([one for one in statements_of(file) if one.runs], monkeypatch))
