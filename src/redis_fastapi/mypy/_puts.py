"""Checks a ``CachePut`` against the GET of the same router and path in the same module."""

from __future__ import annotations

import re

from mypy import nodes
from mypy.checker import TypeChecker
from mypy.nodes import CallExpr, FuncDef, SymbolNode

from .._policy.facts import MarkerFacts, PutFacts, Unknown, names_of
from ._functions import Endpoint, Functions
from ._marks import read_mark, site_of
from ._metadata import Annotations, Position
from ._names import Scope
from ._routes import path_of, router_of
from ._storable import same_model

_FIELD = re.compile(r"{\w+(:\w+)?}")


class Puts:
    """Finds the GET whose entry a put writes."""

    def __init__(self, functions: Functions, annotations: Annotations) -> None:
        self._functions = functions
        self._annotations = annotations

    def facts(
        self, put: MarkerFacts, endpoint: Endpoint, call: CallExpr, api: TypeChecker
    ) -> PutFacts | None:
        """The facts about a put and its GET; None if that GET is not found."""
        if put.arguments.get("key") is not None or "response_model" in call.arg_names:
            return None
        readers = self._readers(call, api)
        if len(readers) != 1:
            return None
        get, reader, cached = readers[0]
        same = same_model(endpoint.returned, reader.returned)
        return PutFacts(
            groups=_groups(put),
            reader=f"GET {path_of(get)} ({reader.function.name})",
            reader_groups=_groups(cached),
            same_model=None if "response_model" in get.arg_names else same,
        )

    def _readers(
        self, call: CallExpr, api: TypeChecker
    ) -> list[tuple[CallExpr, Endpoint, MarkerFacts]]:
        found = []
        resource = _resource(call)
        for get, function in self._functions.in_module_of(call, api.tree):
            if resource is None or not _reads(get, resource):
                continue
            reader = self._functions.read(function, _scope_of(function, api))
            cached = self._cached(reader, api) if reader is not None else None
            if reader is not None and cached is not None:
                found.append((get, reader, cached))
        return found

    def _cached(self, reader: Endpoint, api: TypeChecker) -> MarkerFacts | None:
        """The ``Cached`` of a GET, if it stores under its own path."""
        for item in self._annotations.metadata(reader.definition.returns, Position(reader.scope)):
            # errors of the GET are reported when the GET is checked
            with api.msg.filter_errors():
                mark = read_mark(item, site_of(item), api)
            if mark is None or mark.bare or not mark.effective:
                continue
            if mark.facts.kind == "Cached" and mark.facts.arguments.get("key") is None:
                return mark.facts
        return None


def _reads(call: CallExpr, resource: tuple[SymbolNode, str]) -> bool:
    """Whether a decorator registers the GET of a resource."""
    callee = call.callee
    return (
        isinstance(callee, nodes.MemberExpr)
        and callee.name == "get"
        and _resource(call) == resource
    )


def _resource(call: CallExpr) -> tuple[SymbolNode, str] | None:
    """Router and path of a route, without the names of path parameters."""
    router, path = router_of(call), path_of(call)
    if router is None or router.node is None or path is None:
        return None
    return router.node, _FIELD.sub("{}", path)


def _groups(marker: MarkerFacts) -> tuple[str, ...] | None:
    given = marker.arguments.get("group", ())
    return None if isinstance(given, Unknown) else names_of(given)


def _scope_of(function: FuncDef, api: TypeChecker) -> Scope:
    return Scope(api.modules, api.tree, tuple(api.scope.stack[1:]))
