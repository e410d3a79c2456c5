"""The stubs in ``typings/`` declare nothing that the installed packages do not have."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

TYPINGS = Path(__file__).parents[1] / "typings"
FILES = sorted(TYPINGS.rglob("*.pyi"))


class Declared(NamedTuple):
    """A function of a stub: the dotted path within its module, and its parameters."""

    path: tuple[str, ...]
    parameters: frozenset[str]


def module_of(file: Path) -> Any:
    parts = file.relative_to(TYPINGS).with_suffix("").parts
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
def test_what_a_stub_declares_is_there_and_takes_these_arguments(file: Path) -> None:
    module = module_of(file)
    for declared in functions_in(ast.parse(file.read_text()).body):
        parameters = inspect.signature(found(module, declared.path)).parameters
        takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        assert takes_any or declared.parameters <= parameters.keys(), declared


def test_there_are_stubs() -> None:
    assert len(FILES) > 3
