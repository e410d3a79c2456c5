"""Reports markers where no route reads them: on parameters, fields and variables, and in types.

Runs during semantic analysis, on every annotation that contains ``Annotated``; later passes over
the same statement report the same again, which mypy drops.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from mypy.nodes import Decorator, FuncDef, TypeInfo
from mypy.plugin import AnalyzeTypeContext

from .._policy.facts import EndpointFacts
from .._policy.rules import check
from ._convert import anything, placed
from ._functions import annotated_arguments
from ._metadata import Annotations, Metadata, Position
from ._names import AnalyzerScope, Scope
from ._report import report, without_effect
from ._sources import Source, Sources, dotted_name, is_project_file
from ._values import kind_of


def check_placement(sources: Sources, annotations: Annotations, ctx: AnalyzeTypeContext) -> None:
    """Report markers without effect in the current statement."""
    # the type analyzer references the semantic analyzer, which knows statement and file
    analyzer: Any = ctx.api.api  # type: ignore[attr-defined]
    module = analyzer.cur_mod_node
    if module.is_stub or not is_project_file(module.path):
        return
    source = sources.get(module.path)
    if source is None or not source.mentions_markers:
        return
    scope = AnalyzerScope(analyzer, ctx.context)
    for name, annotation, position in _annotations_in(analyzer.statement, source, scope):
        for item in annotations.metadata(annotation, position):
            kind = _kind_without_effect(item)
            if kind is not None:
                returned = position.effective
                returns = annotations.bare_text(annotation, position) if returned else "..."
                facts = without_effect(name, returns, kind, bare=item.at.effective)
                _report(facts, item, analyzer)


def _annotations_in(
    statement: Any, source: Source, scope: Scope
) -> Iterator[tuple[str, ast.expr | None, Position]]:
    """The annotations of a statement, with their names and positions."""
    if isinstance(statement, Decorator):
        statement = statement.func
    # metadata in aliases is checked where a route uses it
    elsewhere = Position(scope, effective=False, follow=False)
    if not isinstance(statement, FuncDef):
        yield "variable", source.annotation_at(getattr(statement, "line", -1)), elsewhere
        return
    definition = source.function_at(statement.line)
    if definition is None or definition.name != statement.name:
        return
    for one in annotated_arguments(definition):
        yield statement.name, one.annotation, elsewhere
    yield statement.name, definition.returns, Position(scope, follow=False)


def _kind_without_effect(item: Metadata) -> str | None:
    """The kind of a marker without effect; None for any other expression."""
    called = isinstance(item.expr, ast.Call)
    dotted = dotted_name(item.expr.func if isinstance(item.expr, ast.Call) else item.expr)
    if dotted is None or (called and item.at.effective):
        return None
    symbol = item.at.scope.find(dotted)
    return kind_of(symbol.node) if symbol and isinstance(symbol.node, TypeInfo) else None


def _report(facts: EndpointFacts, item: Metadata, analyzer: Any) -> None:
    where = placed(anything(), item.expr)
    for problem in check(facts):
        report(problem, where, where, analyzer.errors)
