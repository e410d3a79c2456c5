"""Checks one endpoint: collects the facts that mypy can prove, and applies the rules to them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

from mypy.checker import TypeChecker
from mypy.nodes import CallExpr, Expression
from mypy.plugin import MethodContext

from .._policy.facts import EndpointFacts, MarkerFacts, Problem
from .._policy.placeholders import fields_of
from .._policy.rules import check
from ._fields import why_lacking
from ._functions import Endpoint, Functions, NewerSyntaxError, argument
from ._marks import Mark, read_mark, site_of
from ._metadata import Annotations, Position
from ._puts import Puts
from ._received import Receptions
from ._report import PARENT, place_of, report, without_effect
from ._routes import makes_cache_routes, methods_of
from ._sources import Sources
from ._storable import is_response, schemaless_in, stream_in


class Endpoints:
    """Checks the endpoints that ``router.get(...)`` and similar calls register."""

    def __init__(self, sources: Sources, annotations: Annotations) -> None:
        self._annotations = annotations
        self._functions = Functions(sources)
        self._receptions = Receptions(self._functions, annotations)
        self._puts = Puts(self._functions, annotations)

    def check(self, verb: str, ctx: MethodContext) -> None:
        """Report the problems of the endpoint that a call registers."""
        api = ctx.api
        if not isinstance(api, TypeChecker) or not isinstance(ctx.context, CallExpr):
            return
        try:
            endpoint = self._endpoint(verb, ctx, ctx.context, api)
            if endpoint is not None:
                self._check(verb, ctx, ctx.context, endpoint, api)
        except NewerSyntaxError:
            _note_newer_syntax(ctx.context, api)

    def _endpoint(
        self, verb: str, ctx: MethodContext, call: CallExpr, api: TypeChecker
    ) -> Endpoint | None:
        if verb == "add_api_route":
            return self._functions.given(ctx, api)
        return self._functions.decorated(call, api)

    def _check(
        self, verb: str, ctx: MethodContext, call: CallExpr, endpoint: Endpoint, api: TypeChecker
    ) -> None:
        marks = list(self._marks(endpoint, call, api))
        for mark in marks:
            if mark.bare or not mark.effective:
                _report_without_effect(mark, endpoint, self._returns(endpoint), api)
        marks = [mark for mark in marks if mark.effective and not mark.bare]
        if not marks:
            return
        facts = self._facts(verb, ctx, endpoint, marks, api)
        for problem in self._problems(facts, endpoint):
            mark = marks[problem.marker or 0]
            where = (
                mark.where if endpoint.foreign else place_of(problem, mark.where, endpoint.source)
            )
            report(problem, where, mark.where, api.errors)

    def _marks(self, endpoint: Endpoint, call: CallExpr, api: TypeChecker) -> Iterator[Mark]:
        returns = endpoint.definition.returns
        for item in self._annotations.metadata(returns, Position(endpoint.scope)):
            site: Expression | None = call if endpoint.foreign else site_of(item)
            if (mark := read_mark(item, site, api)) is not None:
                yield mark

    def _problems(self, facts: EndpointFacts, endpoint: Endpoint) -> Iterator[Problem]:
        # most endpoints have no problem, and so need no text for the line to write instead
        if next(check(facts), None) is not None:
            yield from check(replace(facts, returns=self._returns(endpoint)))

    def _returns(self, endpoint: Endpoint) -> str:
        at = Position(endpoint.scope)
        return self._annotations.bare_text(endpoint.definition.returns, at)

    def _facts(
        self,
        verb: str,
        ctx: MethodContext,
        endpoint: Endpoint,
        marks: list[Mark],
        api: TypeChecker,
    ) -> EndpointFacts:
        markers = tuple(mark.facts for mark in marks)
        cached = any(marker.kind == "Cached" for marker in markers)
        received = self._receptions.by_parameter(endpoint) if cached else {}
        own_model = argument(ctx, "response_model") is None
        returned = endpoint.returned
        assert isinstance(ctx.context, CallExpr)
        puts = [marker for marker in markers if marker.kind == "CachePut"]
        return EndpointFacts(
            name=endpoint.function.name,
            markers=markers,
            methods=methods_of(verb, ctx),
            parameters=frozenset(endpoint.parameters),
            cache_route=makes_cache_routes(ctx, endpoint.source, api),
            generator=endpoint.function.is_generator or endpoint.function.is_async_generator,
            form=any(one.form for one in received.values()),
            secured_by=tuple(name for name, one in received.items() if one.secured),
            lacking=_lacking(markers, endpoint, api),
            stream=stream_in(returned),
            response=is_response(returned),
            schemaless=schemaless_in(returned, api.modules) if own_model else None,
            put=self._puts.facts(puts[0], endpoint, ctx.context, api) if puts else None,
        )


def _report_without_effect(mark: Mark, endpoint: Endpoint, returns: str, api: TypeChecker) -> None:
    """Report a marker that is a bare class, or that is nested in the type."""
    bare = mark.bare and mark.effective
    facts = without_effect(endpoint.function.name, returns, mark.facts.kind, bare=bare)
    for problem in check(facts):
        report(problem, mark.where, mark.where, api.errors)


def _lacking(
    markers: tuple[MarkerFacts, ...], endpoint: Endpoint, api: TypeChecker
) -> dict[str, str]:
    """For each template field that cannot have a value, the reason."""
    found = {}
    for marker in markers:
        for field in fields_of(marker):
            given = endpoint.parameters.get(field.name)
            why = why_lacking(given, field.attributes, api) if given is not None else None
            if why is not None:
                found[str(field)] = why
    return found


def _note_newer_syntax(call: CallExpr, api: TypeChecker) -> None:
    running = f"{sys.version_info[0]}.{sys.version_info[1]}"
    api.errors.report(
        1,
        0,
        f"Python {running}, which runs mypy, cannot parse this file, so its cache markers are not "
        "checked; run mypy on the Python of the project",
        code=PARENT,
        severity="note",
    )
