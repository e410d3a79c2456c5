"""What mypy reads besides the code: the stubs in ``typings/``, and the ignores."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
TYPINGS = ROOT / "typings"
CODE = ("src", "tests", "examples")
EXPLAINED = re.compile(r"# type: ignore\[[\w, -]+\] +# \w")
FILES = sorted(TYPINGS.rglob("*.pyi"))


class Declared(NamedTuple):
    """A function of a stub: the dotted path within its module, and its parameters."""

    path: tuple[str, ...]
    parameters: frozenset[str]


def module_of(file: Path) -> Any:
    parts = file.relative_to(TYPINGS).with_suffix("").parts
    pytest.importorskip(parts[0])
    return importlib.import_module(".".join(part for part in parts if part != "__init__"))


def functions_in(body: list[ast.stmt], *path: str) -> Iterator[Declared]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from functions_in(node.body, *path, node.name)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            spec = node.args
            named = {one.arg for one in (*spec.args, *spec.kwonlyargs)} - {"self", "cls"}
            yield Declared((*path, node.name), frozenset(named))


def found(module: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        module = getattr(module, name)
    return module


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(TYPINGS)))
def test_everything_a_stub_declares_exists_and_takes_these_arguments(file: Path) -> None:
    module = module_of(file)
    for declared in functions_in(ast.parse(file.read_text()).body):
        parameters = inspect.signature(found(module, declared.path)).parameters
        takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        assert takes_any or declared.parameters <= parameters.keys(), declared


def comments_in(file: Path) -> dict[int, str]:
    with tokenize.open(file) as source:
        tokens = list(tokenize.generate_tokens(source.readline))
    return {one.start[0]: one.string for one in tokens if one.type == tokenize.COMMENT}


def unexplained_in(file: Path) -> Iterator[str]:
    """Ignores without a reason on their line or the line above."""
    comments = comments_in(file) if "type: ignore" in file.read_text("utf-8") else {}
    for line, comment in comments.items():
        ignores = comment.startswith("# type: ignore") and not EXPLAINED.match(comment)
        if ignores and line - 1 not in comments:
            yield f"{file.relative_to(ROOT)}:{line}: {comment}"


def test_every_ignore_has_a_reason() -> None:
    files = [file for folder in CODE for file in sorted((ROOT / folder).rglob("*.py"))]
    cases = ROOT / "tests" / "mypy_plugin" / "cases"

    assert [one for f in files if cases not in f.parents for one in unexplained_in(f)] == []
