"""Reports problems as mypy errors, with code, position, and the line to write instead as a note."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Final

from mypy.errorcodes import ErrorCode
from mypy.errors import Errors
from mypy.nodes import CallExpr, Context, Expression, StrExpr, TupleExpr

from .._policy.facts import EndpointFacts, Problem
from .._policy.rules import RULES
from ._convert import anything
from ._sources import Source
from ._values import is_starred

PARENT: Final = ErrorCode("redis-cache", "All that redis_fastapi checks", "redis_fastapi")
CODES: Final[Mapping[str, ErrorCode]] = {
    rule.code: ErrorCode(rule.code, rule.why, "redis_fastapi", sub_code_of=PARENT) for rule in RULES
}


def report(problem: Problem, where: Context, marker: Context, errors: Errors) -> None:
    """Report a problem and, as notes, what to write instead.

    A ``type: ignore`` applies on any line of the marker.
    """
    first, *others = problem.fix.splitlines()
    fix = (f"Write instead: {first}", *(line.strip() for line in others))
    for severity, text in (("error", problem.message), *(("note", line) for line in fix)):
        errors.report(
            where.line,
            where.column,
            text,
            code=CODES[problem.code],
            severity=severity,
            origin_span=chain(_lines(where), _lines(marker)),
            end_line=where.end_line,
            end_column=where.end_column,
        )


def _lines(node: Context) -> range:
    return range(node.line, (node.end_line or node.line) + 1)


def without_effect(name: str, returns: str, kind: str, *, bare: bool) -> EndpointFacts:
    """The facts for a marker written as a class, or where it has no effect."""
    names = (kind,)
    return EndpointFacts(
        name, returns, classes=names if bare else (), misplaced=() if bare else names
    )


def place_of(problem: Problem, marker: Expression, source: Source) -> Expression:
    """The argument that a problem is about, or the template field within it."""
    argument = _argument(marker, problem.argument) if problem.argument else None
    if argument is None:
        return marker
    if problem.fragment is None:
        return argument
    texts = (_within(text, problem.fragment, source) for text in _texts_in(argument))
    return next((text for text in texts if text is not None), argument)


def _argument(call: Expression, name: str) -> Expression | None:
    if not isinstance(call, CallExpr):
        return None
    if name in call.arg_names:
        return call.args[call.arg_names.index(name)]
    # the only positional parameter of a marker is its ttl
    positional = name == "ttl" and call.args and call.arg_names[0] is None
    return call.args[0] if positional and not is_starred(call.arg_kinds[0]) else None


def _texts_in(node: Expression) -> list[StrExpr]:
    """The string literals of an argument: itself, or the items of a tuple."""
    if isinstance(node, TupleExpr):
        return [text for item in node.items for text in _texts_in(item)]
    return [node] if isinstance(node, StrExpr) else []


def _within(text: StrExpr, fragment: str, source: Source) -> Expression | None:
    """The span of a fragment in a literal that is on one line."""
    if text.end_line != text.line or not 0 < text.line <= len(source.lines):
        return None
    line, end = source.lines[text.line - 1], text.end_column
    for spelt in (f"{{{fragment}}}", fragment):
        column = line.find(spelt, text.column, end)
        if column >= 0:
            found = anything()
            found.set_line(text.line, column, text.end_line, end)
            return found
    return None
