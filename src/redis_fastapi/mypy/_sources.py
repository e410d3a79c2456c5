"""Parses files again with ``ast``, since mypy does not keep the metadata of ``Annotated``."""

from __future__ import annotations

import ast
import io
import os
import re
import sys
import tokenize
from collections.abc import Iterator
from functools import cached_property
from typing import Final, TypeAlias

from mypy.options import Options

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

_KEPT: Final = 16
"""Capacity in parsed files; trees are large, and mypy checks one file after the other."""

_MARKERS: Final = re.compile(rb"\b(?:Cached|CachePut|CacheEvict)\b")
_BODIES: Final = ("body", "orelse", "finalbody", "handlers", "cases")
_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Source:
    """One file: its bytes and its tree, in which nodes are found by line or by name."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.data = data
        self._values: dict[str, ast.expr | None] = {}

    @cached_property
    def mentions_markers(self) -> bool:
        """Whether the text names a marker, even if only to import it under another name."""
        return _MARKERS.search(self.data) is not None

    @cached_property
    def lines(self) -> list[str]:
        """The decoded lines."""
        encoding = tokenize.detect_encoding(io.BytesIO(self.data).readline)[0]
        return self.data.decode(encoding, "replace").splitlines()

    @cached_property
    def tree(self) -> ast.Module | None:
        """The tree, with columns in characters; None if this Python is too old to parse it."""
        try:
            tree = ast.parse(self.data, self.path)
        except (SyntaxError, ValueError):
            return None
        if not self.data.isascii():
            _count_characters(tree, self.lines)
        return tree

    @cached_property
    def _by_line(self) -> dict[tuple[type[ast.stmt], int], ast.stmt]:
        found = _statements(self.tree.body if self.tree else [], deep=True)
        return {(type(one), one.lineno): one for one in found}

    @cached_property
    def passed_names(self) -> frozenset[str]:
        """Names passed to calls, which may modify the objects they refer to."""
        nodes = ast.walk(self.tree) if self.tree else ()
        calls = [node for node in nodes if isinstance(node, ast.Call)]
        given = [one for call in calls for one in (*call.args, *call.keywords)]
        below = (node for one in given for node in ast.walk(one))
        return frozenset(node.id for node in below if isinstance(node, ast.Name))

    def function_at(self, line: int) -> Function | None:
        """The function whose ``def`` is on a line."""
        found = self._by_line.get((ast.FunctionDef, line))
        found = found or self._by_line.get((ast.AsyncFunctionDef, line))
        return found if isinstance(found, (ast.FunctionDef, ast.AsyncFunctionDef)) else None

    def annotation_at(self, line: int) -> ast.expr | None:
        """The annotation of the variable or field on a line."""
        found = self._by_line.get((ast.AnnAssign, line))
        return found.annotation if isinstance(found, ast.AnnAssign) else None

    def function_named(self, name: str) -> Function | None:
        """The function with a dotted name within the module, for nodes without a line.

        Those that mypy has read from its cache have none.
        """
        for statement in self._beside(name):
            if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)) and (
                statement.name == name.rpartition(".")[2]
            ):
                return statement
        return None

    def value_of(self, name: str) -> ast.expr | None:
        """The value of a type alias or variable, by its dotted name within the module."""
        if name not in self._values:
            last = name.rpartition(".")[2]
            values = (_assigned(statement, last) for statement in self._beside(name))
            self._values[name] = next((value for value in values if value is not None), None)
        return self._values[name]

    def _beside(self, name: str) -> Iterator[ast.stmt]:
        """The statements of the scope in which a dotted name is bound."""
        body = self.tree.body if self.tree else []
        for owner in name.split(".")[:-1]:
            classes = (one for one in _statements(body) if isinstance(one, ast.ClassDef))
            body = next((one.body for one in classes if one.name == owner), [])
        yield from _statements(body)


class Sources:
    """Files by path, as mypy reads them, including ``--shadow-file``."""

    def __init__(self, options: Options) -> None:
        self._shadows = {os.path.abspath(path): to for path, to in options.shadow_file or ()}
        self._kept: dict[str, tuple[tuple[int, int], Source]] = {}

    def get(self, path: str) -> Source | None:
        """The file, or None if there is none, as for ``mypy -c`` or a zipped package."""
        path = self._shadowed(path)
        try:
            stat = os.stat(path)
            known = self._kept.pop(path, None)
            version = (stat.st_mtime_ns, stat.st_size)
            if known is None or known[0] != version:
                known = (version, Source(path, _read(path)))
        except OSError:
            return None
        self._kept[path] = known  # the most recently used one is last
        if len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return known[1]

    def text(self, path: str) -> bytes | None:
        """The bytes of a file, without keeping them."""
        try:
            return _read(self._shadowed(path))
        except OSError:
            return None

    def _shadowed(self, path: str) -> str:
        return self._shadows.get(os.path.abspath(path), path) if self._shadows else path


def is_project_file(path: str) -> bool:
    """Whether a file is part of the project, not of an installed library or a stub."""
    return path.endswith(".py") and "site-packages" not in path and "typeshed" not in path


def dotted_name(node: ast.expr) -> str | None:
    """``a.b.c`` as text; None for any other expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := dotted_name(node.value)):
        return f"{base}.{node.attr}"
    return None


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _statements(body: list[ast.stmt], *, deep: bool = False) -> Iterator[ast.stmt]:
    """The statements of a scope, also within if, try and with; if deep, also of inner scopes."""
    waiting: list[ast.AST] = [*reversed(body)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.stmt):
            yield node
        if deep or not isinstance(node, _SCOPES):
            for name in reversed(_BODIES):
                waiting.extend(reversed(getattr(node, name, ())))


def _assigned(statement: ast.stmt, name: str) -> ast.expr | None:
    if isinstance(statement, ast.Assign):
        named = [target for target in statement.targets if isinstance(target, ast.Name)]
        return statement.value if any(target.id == name for target in named) else None
    if isinstance(statement, ast.AnnAssign):
        target = statement.target
        return statement.value if isinstance(target, ast.Name) and target.id == name else None
    if sys.version_info >= (3, 12) and isinstance(statement, ast.TypeAlias):
        return statement.value if statement.name.id == name else None
    return None


def _count_characters(tree: ast.Module, lines: list[str]) -> None:
    """Convert columns from UTF-8 bytes, as in ``ast``, to characters, as in mypy's parser."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.expr, ast.keyword)) and node.end_lineno is not None:
            node.col_offset = _characters(lines, node.lineno, node.col_offset)
            node.end_col_offset = _characters(lines, node.end_lineno, node.end_col_offset or 0)


def _characters(lines: list[str], number: int, column: int) -> int:
    if number > len(lines) or lines[number - 1].isascii():
        return column
    return len(lines[number - 1].encode()[:column].decode(errors="replace"))
