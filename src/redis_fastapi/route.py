"""The route class: reads a declaration at registration, and takes each request through the cache.

A route wraps its endpoint, so that all dependencies and validation run before a hit is sent, and
it wraps the handler that FastAPI builds, to receive the serialized response of a miss.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, MutableSet, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar
from weakref import WeakSet

from fastapi import params
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import FastAPIError
from fastapi.routing import APIRoute
from starlette.convertors import PathConvertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from . import _http
from ._app.runtime import context_of, overridden_context
from ._policy.compile import RouteFacts, compile_policy, policy_under
from ._policy.declare import (
    CacheDependency,
    Declaration,
    Declared,
    declaration_error,
    declare,
    label_of,
    take_dependencies,
)
from ._policy.handlers import INCLUDES_LAZILY, KEEPS_HANDLERS, dependant_within, is_fastapis
from ._policy.inputs import own_inputs, tree_inputs
from ._policy.model import model_text
from ._policy.overridden import Overrides
from ._policy.policy import Policy
from ._policy.rules import check
from ._policy.signature import parameter_of_type
from ._policy.wrapping import DECLARATION, install_wrapper, may_reach_wrapper, wrapped
from ._serving.passage import Handler, serve
from ._serving.recording import as_get, with_outlet
from ._serving.shortcut import Shortcut, shortcut_for

logger = logging.getLogger("redis_fastapi")


class CacheRoute(APIRoute):
    """A route that caches as its endpoint's return type declares.

    Use it as ``APIRouter(route_class=CacheRoute)``; ``FastAPIRedis(app).caching()`` sets it for
    ``@app.get``.

    Raises:
        CacheDeclarationError: At registration, if a declaration breaks one of the rules.
    """

    invalidates: ClassVar[bool] = False
    """Whether writes without a marker evict as well."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        dependencies: Sequence[params.Depends] | None = None,
        **options: Any,
    ) -> None:
        kept, extra = take_dependencies(dependencies)
        methods = frozenset(method.upper() for method in options.get("methods") or ["GET"])
        self._declaration = self._read(endpoint, extra, methods)
        self._compiled: MutableSet[_Compiled] = WeakSet() if KEEPS_HANDLERS else set()
        self._records = False
        self.author_endpoint = self._declaration.endpoint
        label = label_of(methods, path, self._declaration.name)
        _refuse(self._declaration, methods, label)
        self._served = endpoint
        if self._declaration.declared and not hasattr(endpoint, DECLARATION):
            self._served = wrapped(self._declaration).endpoint
        try:
            super().__init__(path, self._served, dependencies=kept, **options)
        except FastAPIError as error:
            _refuse_schemaless(self._declaration, methods, label, error)
            raise
        if self._declaration.declared:
            _refuse(self._declaration, methods, label, self.dependant)
        if self.endpoint is self._served:
            # others look for the author's function, and an inclusion reads the route again
            self.endpoint, self.dependencies = endpoint, list(dependencies or ())

    def _read(
        self, endpoint: Callable[..., Any], extra: list[Declared], methods: frozenset[str]
    ) -> Declaration:
        # a route class within this one may have wrapped the wrapper
        known: Declaration | None = getattr(endpoint, DECLARATION, None)
        if known is not None:
            return known.extended_by(extra)
        declaration = declare(endpoint, extra)
        if self.invalidates and methods - _http.SAFE_METHODS:
            return declaration.invalidating()
        return declaration

    def policy_for(self, dependant: Dependant) -> Policy | None:
        """The policy under these effective dependencies, recompiled if some were added later."""
        return self._compiled_for(dependant).policy

    def _compiled_for(self, dependant: Dependant) -> _Compiled:
        known = next((one for one in self._compiled if one.dependant is dependant), None)
        if known is None:
            declaration = self._declaration_in(dependant, _take_included(dependant))
            known = self._compile(dependant, declaration)
            self._compiled.add(known)
        elif not known.is_current:
            declaration = known.declaration_with(_take_included(dependant))
            known.replace_by(self._compile(dependant, declaration))
        return known

    def _compile(self, dependant: Dependant, declaration: Declaration) -> _Compiled:
        policy = shortcut = None
        if declaration.declared:
            if not (declaration.rewrapped and may_reach_wrapper(dependant.call)):
                install_wrapper(dependant, declaration)
            policy = compile_policy(declaration, self._facts(dependant))
            takes_request = parameter_of_type(declaration.signature, Request) is not None
            shortcut = shortcut_for(type(self), dependant, policy, own_request=takes_request)
        if policy is not None and policy.read is not None:
            self._records = self._records or bool(policy.read.statuses)
            # on the instance, so that a route that caches nothing is handled by FastAPI alone
            self.handle = self._handle_read  # type: ignore[method-assign]
        width, call = len(dependant.dependencies), dependant.call
        return _Compiled(dependant, width, call, declaration, policy, shortcut)

    def _declaration_in(self, dependant: Dependant, included: list[Declared]) -> Declaration:
        """What is declared where these dependencies are in force, and an inclusion added to it."""
        if dependant is self.dependant:
            if self._declaration.declared and dependant.call is not self._served:
                self._accept_outer_wrapper(dependant.call)
            return self._declaration.extended_by(included)
        if hasattr(dependant.call, DECLARATION):
            return self._declaration.extended_by(included)
        # class based views change a signature between registration and inclusion
        methods = frozenset(self.methods or ())
        declaration = self._read(self.endpoint, included, methods)
        if declaration.declared:
            path = dependant.path or self.path_format
            _refuse(declaration, methods, label_of(methods, path, declaration.name), dependant)
        return declaration

    def _accept_outer_wrapper(self, outer: Any) -> None:
        """Recognise the wrapper that a route class within this one has put round ours."""
        self._declaration = self._declaration._replace(rewrapped=True)
        setattr(outer, DECLARATION, self._declaration)

    def _facts(self, dependant: Dependant) -> RouteFacts:
        convertors = self.param_convertors.items()
        return RouteFacts(
            path=dependant.path or self.path_format,
            methods=frozenset(self.methods or ()),
            dependant=dependant,
            slashes=frozenset(name for name, kind in convertors if isinstance(kind, PathConvertor)),
            model=functools.cache(partial(model_text, self)),
            modelled=self.response_field is not None,
            status=self.status_code or 200,
            invalidates=self.invalidates,
        )

    def get_route_handler(self) -> Handler:
        """FastAPI's handler, wrapped with the cache if the endpoint declares caching."""
        handler = super().get_route_handler()
        dependant = self._effective_dependant(handler)
        compiled = None if dependant is None else self._compiled_for(dependant)
        if compiled is None or not compiled.caches:
            return handler
        # FastAPI 0.137 to 0.142 call this for every request
        if compiled.handler is None:
            # compiling may have installed the wrapper in an inclusion's dependencies
            handler = super().get_route_handler()
            if compiled.shortcut is not None:
                compiled.shortcut.early &= is_fastapis(handler)
            compiled.handler = self._with_cache(handler, compiled)
        return compiled.handler

    def _with_cache(self, handler: Handler, compiled: _Compiled) -> Handler:
        async def handle_with_cache(request: Request) -> Response:
            if not compiled.is_current:
                self._compiled_for(compiled.dependant)
            policy = compiled.policy
            if policy is None:
                return await handler(request)
            overrides = getattr(request.scope.get("app"), "dependency_overrides", None)
            if not overrides:
                context = context_of(request)
                return await serve(handler, policy, request, context, compiled.shortcut)
            async with AsyncExitStack() as stack:
                context = await overridden_context(request, stack)
                policy = self._policy_under(overrides, policy, compiled)
                return await serve(handler, policy, request, context)

        return handle_with_cache

    def _policy_under(self, overrides: Overrides, policy: Policy, compiled: _Compiled) -> Policy:
        known = compiled.under
        if known is None or known[0] != overrides:
            facts = self._facts(compiled.dependant)
            under = policy_under(overrides, policy, compiled.declaration, facts)
            known = compiled.under = dict(overrides), under
        return known[1]

    async def _handle_read(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve HEAD as the cached GET without its body, and let error responses be recorded."""
        # a subclass may handle requests in its own way
        handle = type(self).handle
        if scope["method"] == "HEAD" and "HEAD" not in (self.methods or ()):
            scope, send = as_get(scope, send)
        if not self._records:
            await handle(self, scope, receive, send)
            return
        async with with_outlet(scope, send) as outgoing:
            await handle(self, scope, receive, outgoing)

    def _effective_dependant(self, handler: Handler) -> Dependant | None:
        """The dependencies in force where this handler serves; an inclusion may add some.

        None if a library has wrapped FastAPI's handler so that they cannot be found: a policy
        without the inclusion's path and guards would be wrong.
        """
        found = dependant_within(handler) or dependant_within(APIRoute.get_route_handler(self))
        if found is not None or not INCLUDES_LAZILY:
            return found or self.dependant
        if self._declaration.declared:
            logger.warning("%s %s: not cached, its handler is unknown", self.methods, self.path)
        return None


class InvalidatingRoute(CacheRoute):
    """A ``CacheRoute`` whose writes invalidate, with or without a marker.

    A successful POST, PUT, PATCH or DELETE evicts what is cached for its own path, and for the
    paths that its response names in ``Location`` and ``Content-Location`` on the same origin (RFC
    9111 section 4.4). Use it as ``APIRouter(route_class=InvalidatingRoute)``.
    """

    invalidates = True


@dataclass(eq=False)
class _Compiled:
    """A policy with the dependencies it was compiled for, its shortcut, the handler, and the policy
    under the overrides of the last request that had some.

    The handler holds it, and FastAPI the handler as long as the place exists: a router may be
    included in one application after another.
    """

    dependant: Dependant
    width: int
    call: Callable[..., Any] | None
    declaration: Declaration
    policy: Policy | None
    shortcut: Shortcut | None
    handler: Handler | None = None
    under: tuple[Overrides, Policy] | None = None

    @property
    def caches(self) -> bool:
        """Whether requests read, write or evict anything."""
        policy = self.policy
        return policy is not None and (policy.read is not None or policy.write is not None)

    @property
    def is_current(self) -> bool:
        """Whether no dependency was added since, and nothing put in place of the endpoint."""
        dependant = self.dependant
        return len(dependant.dependencies) == self.width and dependant.call is self.call

    def declaration_with(self, included: Iterable[Declared]) -> Declaration:
        """What is declared now that the dependencies have changed, and an inclusion added to it."""
        declaration = self.declaration
        if declaration.declared and self.call is not self.dependant.call:
            declaration = declaration._replace(rewrapped=True)
        return declaration.extended_by(included)

    def replace_by(self, newer: _Compiled) -> None:
        """Take over what was compiled later for the same dependencies."""
        vars(self).update(vars(newer))


def _refuse(
    declaration: Declaration,
    methods: frozenset[str],
    label: str,
    dependant: Dependant | None = None,
) -> None:
    """Raise for the first rule that a declaration breaks, given the dependencies known so far."""
    form = False
    secured_by: tuple[str, ...] = ()
    if dependant is not None:
        received = [below for below in dependant.dependencies if below.name is not None]
        form = own_inputs(dependant).form or any(tree_inputs(below).form for below in received)
        secured_by = tuple(str(below.name) for below in received if tree_inputs(below).schemes)
    facts = declaration.facts(methods, form=form, secured_by=secured_by)
    for problem in check(facts):
        raise declaration_error(problem, label)


def _refuse_schemaless(
    declaration: Declaration, methods: frozenset[str], label: str, error: FastAPIError
) -> None:
    """Raise for a return type that FastAPI rejects as a response field."""
    # the same error is raised for a parameter's type
    if f"check that {declaration.signature.return_annotation} " not in str(error):
        return
    facts = replace(declaration.facts(methods), schemaless=declaration.returns)
    for problem in check(facts):
        raise declaration_error(problem, label) from error


def _take_included(dependant: Dependant) -> list[Declared]:
    """Remove and return what ``include_router(dependencies=[Depends(cache())])`` declares."""
    taken = [below for below in dependant.dependencies if isinstance(below.call, CacheDependency)]
    for below in taken:
        # a parameter that receives one still needs its value
        if below.name is None:
            dependant.dependencies.remove(below)
    return [below.call.declared for below in taken if isinstance(below.call, CacheDependency)]
