"""Checks of an application's routes against each other, at start-up.

A put must agree with the GET whose entry it writes, an eviction by endpoint must name one that is
served, and markers must be on routes that read them. `overview.py` adds what only shows across all
routes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from fastapi.routing import APIRoute

from .._policy import rules
from .._policy.declare import declaration_error, declare, label_of
from .._policy.facts import Problem, PutFacts
from .._policy.policy import Put, ReadPolicy, WritePolicy
from .._policy.resource import ResourceTemplate
from .._policy.rules import Finding, check, finding
from .._policy.signature import resolve_signature
from ..exceptions import CacheDeclarationError
from .overview import Overview, pairs
from .registry import PolicyRoute, Registry, Served

Found: TypeAlias = CacheDeclarationError | Finding | str
"""An error, a violation of a rule for the whole application, or a warning."""


class Checked(NamedTuple):
    """The errors and warnings of an application.

    Attributes:
        errors: Problems that always prevent start-up.
        findings: Violations of rules for the whole application; warnings at start-up.
        warnings: Warnings about one route, each with its label first.
    """

    errors: list[CacheDeclarationError]
    findings: list[Finding]
    warnings: list[str]

    def found(self) -> list[CacheDeclarationError]:
        """The findings as errors."""
        return [declaration_error(one.problem, one.route) for one in self.findings]


def check_routes(registry: Registry, *, default_ttl: int = 0) -> Checked:
    """Check the routes of an application against each other.

    Args:
        registry: Of the application.
        default_ttl: Seconds; 0 means no expiry.
    """
    found = [
        *_found_by_route(registry),
        *_confusion_errors(registry),
        *Overview(registry, default_ttl).findings(),
    ]
    return Checked(
        [one for one in found if isinstance(one, CacheDeclarationError)],
        [one for one in found if isinstance(one, Finding)],
        [one for one in found if isinstance(one, str)],
    )


def _found_by_route(registry: Registry) -> Iterator[Found]:
    for served in registry.served:
        if not isinstance(served.route, PolicyRoute):
            yield from _unread_markers(served)
        elif served.policy is not None:
            yield from served.policy.warnings
        if served.write is not None:
            yield from _eviction_errors(served, served.write, registry)
            yield from _found_by_put(served, served.write, registry)
            yield from _precondition_warnings(served, served.write, registry)


def _confusion_errors(registry: Registry) -> Iterator[CacheDeclarationError]:
    for pair in pairs(registry):
        if pair.confused:
            yield CacheDeclarationError(
                code="redis-cache-same-key",
                route=pair.other.label,
                problem=f"has the key of {pair.one.label} and a function of the same name, so each "
                "would be served what the other stored",
                fix='Cached(key="/a/path/of/its/own"), or functions with names of their own',
            )


def _precondition_warnings(served: Served, write: WritePolicy, registry: Registry) -> Iterator[str]:
    if write.preconditions and registry.reader_of(ResourceTemplate.parse(served.path), "") is None:
        yield (
            f"{write.label}: preconditions=True, and no cached GET serves its path, so nothing "
            "tells clients an ETag to send. Cache that GET, or leave it out"
        )


def _unread_markers(served: Served) -> Iterator[CacheDeclarationError]:
    declaration = declare(served.endpoint)
    kind = type(served.route)
    own = "" if kind is APIRoute else kind.__name__
    facts = declaration.facts(served.methods, cache_route=False, route_class=own)
    for problem in check(facts):
        if problem.code in ("redis-cache-route", "redis-cache-misplaced", "redis-cache-instance"):
            yield declaration_error(problem, _label(served))


def _eviction_errors(
    served: Served, write: WritePolicy, registry: Registry
) -> Iterator[CacheDeclarationError]:
    for eviction in write.evictions:
        if not callable(eviction.key):
            continue
        templates = registry.paths_of(eviction.key)
        name = getattr(eviction.key, "__name__", repr(eviction.key))
        if not templates:
            yield CacheDeclarationError(
                code="redis-cache-key",
                route=write.label,
                problem=f"key={name} names an endpoint that this application does not serve",
                fix='CacheEvict(key="/path/as/a/client/writes/it")',
            )
        reads = (place.read for place in registry.places_of(eviction.key))
        if any(read is not None and read.key_builder is not None for read in reads):
            yield CacheDeclarationError(
                code="redis-cache-key",
                route=write.label,
                problem=f"a key builder names the resources of {name}, so its path is unknown",
                fix="Depends(cache_evict(key_builder=...)) with the same key builder, or a group",
            )
        yield from _missing_errors("CacheEvict", eviction.key, served, write, registry)
    if write.put is not None and callable(write.put.key):
        yield from _missing_errors("CachePut", write.put.key, served, write, registry)


def _missing_errors(
    kind: str, key: Callable[..., Any], served: Served, write: WritePolicy, registry: Registry
) -> Iterator[CacheDeclarationError]:
    templates = registry.paths_of(key)
    name = getattr(key, "__name__", repr(key))
    for missing in sorted(_missing(templates, served)):
        yield CacheDeclarationError(
            code="redis-cache-key",
            route=write.label,
            problem=f"the path of {name} needs {missing!r}, not a parameter of this endpoint",
            fix=f"add {missing!r} to the parameters, or name the path: "
            f'{kind}(key="{templates[0].template.text}")',
        )


def _missing(templates: tuple[ResourceTemplate, ...], served: Served) -> set[str]:
    parameters = set(resolve_signature(served.endpoint).parameters)
    return {field.name for one in templates for field in one.template.fields} - parameters


def _found_by_put(served: Served, write: WritePolicy, registry: Registry) -> Iterator[Found]:
    """A put writes what its GET reads, so their models and groups must agree."""
    put = write.put
    if put is None:
        return
    reader = _reader_of(put, served, registry)
    problem = put_problem(put, write, reader)
    if problem is not None and put.by_dependency:
        yield f"{write.label}: {problem.message}; it evicts instead"
    elif problem is not None:
        yield declaration_error(problem, write.label)
    elif reader is not None and reader.selectors:
        message = (
            f"{reader.label} varies by more than its path, so the put evicts its variants instead "
            "of writing one"
        )
        yield finding("redis-cache-variants", write.label, message)
    elif reader is not None and (undone := _groups_of(reader) & _evicted_groups(write)):
        yield (
            f"{write.label}: evicts group {min(undone)!r} after its put, and so what it has just "
            f"written: {reader.label} is in that group"
        )


def _groups_of(reader: ReadPolicy) -> set[str]:
    return {template.text for template in reader.groups}


def _evicted_groups(write: WritePolicy) -> set[str]:
    return {template.text for eviction in write.evictions for template in eviction.groups}


def _reader_of(put: Put, served: Served, registry: Registry) -> ReadPolicy | None:
    if put.key_builder is not None:
        return registry.reader_by(put.key_builder, put.prefix)
    template = put.key or ResourceTemplate.parse(served.path)
    return registry.reader_of(template, put.prefix)


_NO_ONE_READER: Final = Problem(
    "redis-cache-put",
    "its key builder is that of no cached GET or of several, so which entry it writes is not known",
    "cache_put(key_builder=...) with a key builder that one GET has",
)


def put_problem(put: Put, write: WritePolicy, reader: ReadPolicy | None) -> Problem | None:
    """Why a put cannot write the entry of this GET; their models and groups must agree."""
    if reader is None and put.key_builder is not None:
        return _NO_ONE_READER
    if reader is None:
        return rules.put_problem(PutFacts(reader=""))
    groups = tuple(template.text for template in reader.groups)
    same = write.model() == reader.model()
    return rules.put_problem(PutFacts(put.groups, reader.label, groups, same))


def _label(served: Served) -> str:
    name = getattr(served.endpoint, "__name__", repr(served.endpoint))
    return label_of(served.methods, served.path, name)
