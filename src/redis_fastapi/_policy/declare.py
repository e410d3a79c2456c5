"""What an endpoint declares, by markers or by the equivalent dependencies.

``Depends(cache(...))`` is data in the form of a dependency: instances of ``CacheDependency`` are
removed from a route's ``dependencies=``, so both forms end in the same ``Declared`` values.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import itemgetter
from typing import Annotated, Any, NamedTuple, Protocol
from urllib.parse import quote

from fastapi import params
from starlette.requests import HTTPConnection, Request

from ..exceptions import CacheDeclarationError
from ..markers import CacheEvict, CachePut, Marker, find_markers
from .attributes import why_lacking
from .facts import EndpointFacts, MarkerFacts, Problem
from .placeholders import fields_of
from .signature import (
    is_checked_by_requires,
    is_generator_endpoint,
    missing_name,
    names_of_module,
    parameter_of_type,
    resolve_signature,
    returns_response,
    returns_stream,
    type_text,
)

logger = logging.getLogger("redis_fastapi")

SCOPE_KEY = "redis_fastapi"
"""Key in a request's scope of its passage through the cache."""


class KeyBuilder(Protocol):
    """Names the resource of a request; a plain or ``async`` function."""

    def __call__(
        self, request: Request, eviction_group: str = "", prefix: str = ""
    ) -> str | Awaitable[str]: ...


def default_key_builder(request: Request, eviction_group: str = "", prefix: str = "") -> str:
    """Name a request by prefix, group, path and sorted query, so that different requests differ.

    Passed to ``cache()``, ``cache_put()`` or ``cache_evict()`` it means "the path of this request",
    which the library keys by the declared parameters. Call it from your own key builder to extend
    it.
    """
    path = "/".join(quote(part, safe="") for part in request.scope["path"].split("/"))
    query = "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}"
        for name, value in sorted(request.query_params.multi_items(), key=itemgetter(0))
    )
    return f"{quote(prefix, safe='')}:{{{quote(eviction_group, safe='')}}}:{path}?{query}"


@dataclass(frozen=True, slots=True)
class Declared:
    """One marker, and the options that only the dependency form has.

    Attributes:
        marker: The marker that was written, or the equivalent of the dependency.
        by_dependency: Whether it came from ``Depends(...)``; such a declaration only warns.
        key_builder: Names the resource, where `default_key_builder` names the path.
        prefix: Separates resources that would otherwise be the same.
    """

    marker: Marker
    by_dependency: bool = False
    key_builder: KeyBuilder | None = None
    prefix: str = ""

    @property
    def own_key_builder(self) -> KeyBuilder | None:
        """The author's own key builder; None means the path."""
        return None if self.key_builder is default_key_builder else self.key_builder

    @property
    def puts_own_path(self) -> bool:
        """Whether it writes what a GET of the route's own path reads."""
        marker = self.marker
        named = self.own_key_builder is not None or self.prefix
        return isinstance(marker, CachePut) and marker.key is None and not named

    def facts(self) -> MarkerFacts:
        """The marker as the rules see it, with the arguments that differ from the defaults."""
        values = ((field, getattr(self.marker, field.name)) for field in fields(self.marker))
        arguments = {field.name: value for field, value in values if value is not field.default}
        return MarkerFacts(type(self.marker).__name__, arguments, self.by_dependency)


class CacheDependency:
    """What ``cache()``, ``cache_evict()`` and ``cache_put()`` return, for ``Depends``.

    It runs as a dependency only if no route class removed it from ``dependencies=``, and then logs
    a warning, once.
    """

    def __init__(self, declared: Declared) -> None:
        self.declared = declared
        self._has_warned = False
        # FastAPI before 0.116 cannot evaluate the annotations of an instance
        self.__signature__ = inspect.signature(self.__call__, eval_str=True)

    async def __call__(self, request: HTTPConnection) -> None:
        if self._has_warned or request.scope["type"] != "http" or SCOPE_KEY in request.scope:
            return
        self._has_warned = True
        logger.warning(
            "%s %s: Depends(...) caches nothing here. Add FastAPIRedis(app).caching() and the "
            "route, both before the start",
            request.scope["method"],
            request.url.path,
        )


class Declaration(NamedTuple):
    """An endpoint and everything it declares.

    Attributes:
        endpoint: The function as the author wrote it.
        signature: Its signature, evaluated, without our markers.
        declared: What its dependencies declare, then its markers, in the order written.
        classes: Markers written as a class.
        misplaced: Markers in places where they have no effect.
        generator: Whether it yields its response.
        takes_request: Whether a parameter receives the whole request.
        rewrapped: Whether a library (a container, say) has wrapped our wrapper, and may pass the
            endpoint anything that a request holds.
    """

    endpoint: Callable[..., Any]
    signature: inspect.Signature
    declared: tuple[Declared, ...]
    classes: tuple[str, ...]
    misplaced: tuple[str, ...]
    generator: bool
    takes_request: bool
    rewrapped: bool = False

    def extended_by(self, extra: Iterable[Declared]) -> Declaration:
        """The declaration extended by dependencies, unless the endpoint streams.

        What is closest to the endpoint comes last, and wins.
        """
        added = tuple(extra)
        if added and self.generator:
            logger.warning("%s streams its response: Depends(...) caches nothing here", self.name)
            return self
        return self._replace(declared=(*added, *self.declared))

    def invalidating(self) -> Declaration:
        """The declaration of a write that also evicts its own path, unless it puts there."""
        if self.generator:
            logger.warning("%s streams its response: it evicts nothing", self.name)
            return self
        if any(one.puts_own_path for one in self.declared):
            return self
        own_path = Declared(CacheEvict(), by_dependency=True, key_builder=default_key_builder)
        return self._replace(declared=(own_path, *self.declared))

    @property
    def name(self) -> str:
        """The endpoint's name for messages."""
        return str(getattr(self.endpoint, "__name__", type(self.endpoint).__name__))

    @property
    def returns(self) -> str:
        """The return type for messages."""
        return type_text(self.signature.return_annotation)

    def facts(
        self,
        methods: frozenset[str],
        *,
        cache_route: bool = True,
        route_class: str = "",
        form: bool = False,
        secured_by: tuple[str, ...] = (),
    ) -> EndpointFacts:
        """The endpoint as the rules see it."""
        return EndpointFacts(
            name=self.name,
            returns=self.returns,
            markers=tuple(declared.facts() for declared in self.declared),
            classes=self.classes,
            misplaced=self.misplaced,
            methods=methods,
            parameters=frozenset(self.signature.parameters),
            cache_route=cache_route,
            route_class=route_class,
            generator=self.generator,
            form=form,
            secured_by=secured_by,
            checked_by_requires=is_checked_by_requires(self.endpoint),
            lacking=self._lacking(),
            stream=self.returns if returns_stream(self.signature.return_annotation) else None,
            response=returns_response(self.signature.return_annotation),
        )

    def _lacking(self) -> dict[str, str]:
        """Template fields that their parameter cannot have, each with the reason."""
        found = {}
        for field in (one for declared in self.declared for one in fields_of(declared.facts())):
            parameter = self.signature.parameters.get(field.name)
            why = why_lacking(parameter.annotation, field.attributes) if parameter else None
            if why is not None:
                found[str(field)] = why
        return found


def label_of(methods: Iterable[str], path: str, name: str) -> str:
    """A route in messages and logs: ``GET /products/{product_id} (get_product)``."""
    return f"{'|'.join(sorted(methods))} {path} ({name})"


def declaration_error(problem: Problem, route: str) -> CacheDeclarationError:
    """The exception that registration and start-up raise for a problem."""
    return CacheDeclarationError(
        code=problem.code, route=route, problem=problem.message, fix=problem.fix
    )


def declare(endpoint: Callable[..., Any], extra: Iterable[Declared] = ()) -> Declaration:
    """Read an endpoint's markers, and add what its dependencies declare."""
    signature = resolve_signature(endpoint)
    found = find_markers(signature.return_annotation)
    misplaced = list(found.misplaced)
    for parameter in signature.parameters.values():
        inside = find_markers(parameter.annotation)
        misplaced += [type(marker).__name__ for marker in inside.markers]
        misplaced += [*inside.classes, *inside.misplaced]
    _refuse_unread(signature.return_annotation, endpoint)
    written = Declaration(
        endpoint,
        signature.replace(return_annotation=found.annotation),
        tuple(Declared(marker) for marker in found.markers),
        found.classes,
        tuple(misplaced),
        is_generator_endpoint(endpoint),
        parameter_of_type(signature, HTTPConnection) is not None,
    )
    return written.extended_by(extra)


_MARKERS = frozenset({"Cached", "CachePut", "CacheEvict"})
_NAME = re.compile(r"[^\W\d][\w.]*")


def _markers_in_text(text: str, names: Mapping[str, Any]) -> Iterator[str]:
    """Names in an annotation's text that refer to a marker, or to a type containing one."""
    for name in _NAME.findall(text):
        first, *attributes = name.split(".")
        value = names.get(first)
        for attribute in attributes:
            value = getattr(value, attribute, None)
        found = find_markers(Annotated[Any, value])
        within = find_markers(value)
        if {first, *attributes} & _MARKERS or any((*found[1:], *within[1:])):
            yield name


def _refuse_unread(annotation: object, endpoint: Callable[..., Any]) -> None:
    """Raise for a marker in an annotation that cannot be evaluated, rather than ignore it."""
    if not isinstance(annotation, str):
        return
    names = names_of_module(endpoint)
    name = next(_markers_in_text(annotation, names), None)
    if name is None:
        return
    missing = missing_name(annotation, names)
    raise CacheDeclarationError(
        code="redis-cache-unread",
        route=getattr(endpoint, "__qualname__", repr(endpoint)),
        problem=f"{name} stands in {annotation!r}, and {missing!r} is not a name in that module",
        fix=f"move {missing!r} to the module level, out of functions and `if TYPE_CHECKING:`",
    )


def take_dependencies(
    dependencies: Sequence[params.Depends] | None,
) -> tuple[list[params.Depends], list[Declared]]:
    """Split ``dependencies=`` into those FastAPI runs and those that declare caching."""
    kept, declared = [], []
    for dependency in dependencies or ():
        if isinstance(dependency.dependency, CacheDependency):
            declared.append(dependency.dependency.declared)
        else:
            kept.append(dependency)
    return kept, declared
