"""The route class: reads a declaration at registration, and leads each request through the cache.

A route wraps its endpoint, so that every dependency and all validation run before a hit is
answered, and it wraps the handler that FastAPI builds, where the serialized response of a miss
passes by.
"""

from __future__ import annotations

import functools
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import fastapi.routing
from fastapi import params
from fastapi.datastructures import DefaultPlaceholder
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import FastAPIError
from fastapi.routing import APIRoute
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from starlette.concurrency import run_in_threadpool
from starlette.convertors import PathConvertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from . import _http
from ._compile import RouteFacts, compile_policy
from ._context import Context
from ._declare import (
    SCOPE_KEY,
    CacheDependency,
    Declaration,
    Declared,
    declaration_error,
    declare,
    label_of,
    take_dependencies,
)
from ._http import Forward
from ._observed import ToldReading, ToldWriting
from ._policy import Policy, ReadPolicy, Values, WritePolicy
from ._reading import Reading
from ._reads import own_reads, tree_reads
from ._recording import as_get, with_outlet
from ._refresh import RERUN
from ._rules import check
from ._runtime import context_of, overridden_context
from ._shortcut import Shortcut, shortcut_for
from ._signature import is_coroutine_endpoint, parameter_of_type
from ._use import Use
from ._writing import Writing

logger = logging.getLogger("redis_fastapi")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

EXPLAIN = "redis_fastapi_explain"
"""Where the scope of a request that is only to be explained holds who does so."""

_DECLARATION = "__redis_fastapi__"
_REQUEST = "redis_fastapi_request_"
_RESPONSE = "redis_fastapi_response_"


class CacheRoute(APIRoute):
    """A route that does what its endpoint's return type says about caching.

    Use it as ``APIRouter(route_class=CacheRoute)``; ``FastAPIRedis(app).caching()`` sets it for
    ``@app.get``.

    Raises:
        CacheDeclarationError: At registration, where a declaration cannot mean what it says.
    """

    invalidates: ClassVar[bool] = False
    """Whether writes without a marker evict, too."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        dependencies: Sequence[params.Depends] | None = None,
        **options: Any,
    ) -> None:
        kept, extra = take_dependencies(dependencies)
        # up to FastAPI 0.136 an inclusion builds the route again, from the wrapper
        known: Declaration | None = getattr(endpoint, _DECLARATION, None)
        self._declaration = known.within(extra) if known else declare(endpoint, extra)
        methods = frozenset(method.upper() for method in options.get("methods") or ["GET"])
        if self.invalidates and not known and methods - _http.SAFE_METHODS:
            self._declaration = self._declaration.invalidating()
        self._compiled: list[_Compiled] = []
        self._reads: list[ReadPolicy] = []
        self._records = False
        self.author_endpoint = self._declaration.endpoint
        label = label_of(methods, path, self._declaration.name)
        _refuse(self._declaration, methods, label)
        if self._declaration.declared and not known:
            endpoint = _wrapped(self._declaration).endpoint
        try:
            super().__init__(path, endpoint, dependencies=kept, **options)
        except FastAPIError as error:
            _refuse_schemaless(self._declaration, methods, label, error)
            raise
        if self._declaration.declared:
            _refuse(self._declaration, methods, label, self.dependant)

    def policy_for(self, dependant: Dependant) -> Policy | None:
        """The policy under these effective dependencies; anew where some were added later."""
        return self._compiled_for(dependant).policy

    def _compiled_for(self, dependant: Dependant) -> _Compiled:
        width = len(dependant.dependencies)
        known = next((one for one in self._compiled if one.dependant is dependant), None)
        if known is not None and known.width == width:
            return known
        declaration = known.declaration if known is not None else self._declaration
        if included := _take_included(dependant):
            declaration = declaration.within(included)
        policy = shortcut = None
        if declaration.declared:
            _install_wrapper(dependant, declaration)
            policy = compile_policy(declaration, self._facts(dependant))
            takes_request = parameter_of_type(declaration.signature, Request) is not None
            shortcut = shortcut_for(type(self), dependant, policy, own_request=takes_request)
        compiled = _Compiled(dependant, len(dependant.dependencies), declaration, policy, shortcut)
        self._compiled = [*(one for one in self._compiled if one is not known), compiled]
        policies = (one.policy for one in self._compiled if one.policy is not None)
        self._reads = [one.read for one in policies if one.read is not None]
        self._records = any(read.statuses for read in self._reads)
        return compiled

    def _facts(self, dependant: Dependant) -> RouteFacts:
        convertors = self.param_convertors.items()
        return RouteFacts(
            path=dependant.path or self.path_format,
            methods=frozenset(self.methods or ()),
            dependant=dependant,
            slashes=frozenset(name for name, kind in convertors if isinstance(kind, PathConvertor)),
            model=functools.cache(partial(_model_text, self)),
            status=self.status_code or 200,
            invalidates=self.invalidates,
        )

    def get_route_handler(self) -> Handler:
        """FastAPI's handler, with the cache round it where the endpoint asks for one."""
        handler = super().get_route_handler()
        dependant = self._effective_dependant(handler)
        if dependant is None or not self._caches(dependant):
            return handler
        compiled = self._compiled_for(dependant)
        # FastAPI 0.137 to 0.142 ask for it with every request
        if compiled.handler is None:
            # reading the policy may have put the wrapper into an inclusion's dependencies
            handler = super().get_route_handler()
            compiled.handler = self._with_cache(handler, dependant, compiled)
        return compiled.handler

    def _with_cache(self, handler: Handler, dependant: Dependant, compiled: _Compiled) -> Handler:
        async def handle_with_cache(request: Request) -> Response:
            nonlocal compiled
            if compiled.width != len(dependant.dependencies):
                compiled = self._compiled_for(dependant)
            policy = compiled.policy
            if policy is None:
                return await handler(request)
            if not getattr(request.scope.get("app"), "dependency_overrides", None):
                context = context_of(request)
                return await _serve(handler, policy, request, context, compiled.shortcut)
            async with AsyncExitStack() as stack:
                context = await overridden_context(request, stack)
                return await _serve(handler, policy, request, context)

        return handle_with_cache

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer HEAD as the cached GET without its body, and let raised errors be recorded."""
        if scope["method"] == "HEAD" and self._reads and "HEAD" not in (self.methods or ()):
            scope, send = as_get(scope, send)
        if not self._records:
            await super().handle(scope, receive, send)
            return
        async with with_outlet(scope, send) as outgoing:
            await super().handle(scope, receive, outgoing)

    def _caches(self, dependant: Dependant) -> bool:
        policy = self.policy_for(dependant)
        return policy is not None and (policy.read is not None or policy.write is not None)

    def _effective_dependant(self, handler: Handler) -> Dependant | None:
        """The dependencies in force where this handler serves; an inclusion may add some.

        None where a library has wrapped FastAPI's handler beyond recognition: a policy without
        the inclusion's path and guards would be wrong.
        """
        found = _dependant_within(handler) or _dependant_within(APIRoute.get_route_handler(self))
        if found is not None or not _INCLUDES_LAZILY:
            return found or self.dependant
        if self._declaration.declared:
            logger.warning("%s %s: not cached, its handler is unknown", self.methods, self.path)
        return None


class InvalidatingRoute(CacheRoute):
    """A ``CacheRoute`` by which every write invalidates, with or without a marker.

    A successful POST, PUT, PATCH or DELETE evicts what is cached of its own path, and of the paths
    that its answer names in ``Location`` and ``Content-Location`` on the same origin (RFC 9111
    section 4.4). Use it as ``APIRouter(route_class=InvalidatingRoute)``.
    """

    invalidates = True


@dataclass(slots=True)
class _Compiled:
    """A policy, the dependencies for which it was compiled, the way past them, and the handler."""

    dependant: Dependant
    width: int
    declaration: Declaration
    policy: Policy | None
    shortcut: Shortcut | None
    handler: Handler | None = None


_INCLUDES_LAZILY = hasattr(fastapi.routing, "_EffectiveRouteContext")
"""Whether an included router keeps its routes as they are and adds its own to each request."""

_WRAPPERS = 4
"""How many layers round FastAPI's handler are looked through."""


def _dependant_within(handler: Any, layers: int = _WRAPPERS) -> Dependant | None:
    """The ``Dependant`` that a handler, or one that it wraps, closes over."""
    if isinstance(handler, Dependant) or layers == 0:
        return handler if isinstance(handler, Dependant) else None
    held = [
        cell.cell_contents for cell in getattr(handler, "__closure__", None) or () if _filled(cell)
    ]
    if isinstance(handler, partial):
        held = [handler.func, *handler.args, *handler.keywords.values()]
    direct = next((one for one in held if isinstance(one, Dependant)), None)
    if direct is not None:
        return direct
    deeper = (_dependant_within(one, layers - 1) for one in held if callable(one))
    return next((one for one in deeper if one is not None), None)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not None
    except ValueError:
        return False


# -- registration


def _refuse(
    declaration: Declaration,
    methods: frozenset[str],
    label: str,
    dependant: Dependant | None = None,
) -> None:
    """Raise for the first rule that a declaration breaks, as far as its dependencies are known."""
    form = False
    secured_by: tuple[str, ...] = ()
    if dependant is not None:
        received = [below for below in dependant.dependencies if below.name is not None]
        form = own_reads(dependant).form or any(tree_reads(below).form for below in received)
        secured_by = tuple(str(below.name) for below in received if tree_reads(below).schemes)
    facts = declaration.facts(methods, form=form, secured_by=secured_by)
    for problem in check(facts):
        raise declaration_error(problem, label)


def _refuse_schemaless(
    declaration: Declaration, methods: frozenset[str], label: str, error: FastAPIError
) -> None:
    """Raise for a return type of which FastAPI says that it is no field."""
    if "response field" not in str(error):
        return
    facts = replace(declaration.facts(methods), schemaless=declaration.returns)
    for problem in check(facts):
        raise declaration_error(problem, label) from error


def _model_text(route: APIRoute) -> str:
    """Text that changes with what the response model sends: its schema and how it is written."""
    chosen = route.response_class
    rendered_by = chosen.value if isinstance(chosen, DefaultPlaceholder) else chosen
    written = (
        _ordered(route.response_model_include),
        _ordered(route.response_model_exclude),
        route.response_model_by_alias,
        route.response_model_exclude_unset,
        route.response_model_exclude_defaults,
        route.response_model_exclude_none,
        rendered_by.__name__,
    )
    return f"{_schema_text(route)} {written!r}"


def _ordered(chosen: Any) -> Any:
    """Sets as lists: the order of a set differs from process to process."""
    if isinstance(chosen, dict):
        return {name: _ordered(below) for name, below in chosen.items()}
    return sorted(chosen, key=repr) if isinstance(chosen, (set, frozenset)) else chosen


def _schema_text(route: APIRoute) -> str:
    if route.response_field is None:
        return "none"
    annotation: Any = route.response_field.field_info.annotation
    try:
        schema = TypeAdapter(annotation).json_schema(mode="serialization")
    except PydanticUserError:
        return repr(annotation)
    return json.dumps(schema, sort_keys=True, default=repr)


def _take_included(dependant: Dependant) -> list[Declared]:
    """What ``include_router(dependencies=[Depends(cache())])`` declares, taken out of the
    dependencies.
    """
    taken = [below for below in dependant.dependencies if isinstance(below.call, CacheDependency)]
    for below in taken:
        # one that a parameter receives still has to give it a value
        if below.name is None:
            dependant.dependencies.remove(below)
    return [below.call.declared for below in taken if isinstance(below.call, CacheDependency)]


def _install_wrapper(dependant: Dependant, declaration: Declaration) -> None:
    if hasattr(dependant.call, _DECLARATION):
        return
    wrapper = _wrapped(declaration, dependant.request_param_name, dependant.response_param_name)
    dependant.request_param_name = wrapper.request_name
    dependant.response_param_name = wrapper.response_name
    dependant.call = wrapper.endpoint


class _Wrapper(NamedTuple):
    """An endpoint with the cache before it, and the names under which it takes request and
    response.
    """

    endpoint: Callable[..., Any]
    request_name: str
    response_name: str


def _wrapped(
    declaration: Declaration, request_name: str | None = None, response_name: str | None = None
) -> _Wrapper:
    """Wrap an endpoint so that FastAPI sees its own signature, and the wrapper request and
    response.
    """
    signature, endpoint = declaration.signature, declaration.endpoint
    own_request = request_name or parameter_of_type(signature, Request)
    own_response = response_name or parameter_of_type(signature, Response)
    request_name, response_name = own_request or _REQUEST, own_response or _RESPONSE
    run = _runner(endpoint)

    async def cached_endpoint(**values: Any) -> Any:
        request = values[request_name] if own_request else values.pop(request_name)
        response = values[response_name] if own_response else values.pop(response_name)
        call: _Call | None = request.scope.get(SCOPE_KEY)
        if call is None:
            return await run(values)
        return await call.run(run, values, request, response)

    functools.update_wrapper(cached_endpoint, endpoint)
    # some FastAPI releases look through __wrapped__
    cached_endpoint.__dict__.pop("__wrapped__", None)
    cached_endpoint.__annotations__ = {}
    cached_endpoint.__name__ = declaration.name
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
        for name, annotation, own in (
            (request_name, Request, own_request),
            (response_name, Response, own_response),
        )
        if own is None
    ]
    # inspect reads it; no type of a function has it
    cached_endpoint.__signature__ = _with_parameters(signature, added)  # type: ignore[attr-defined]
    setattr(cached_endpoint, _DECLARATION, declaration)
    return _Wrapper(cached_endpoint, request_name, response_name)


def _with_parameters(
    signature: inspect.Signature, added: list[inspect.Parameter]
) -> inspect.Signature:
    """The signature with keyword-only parameters in their place, before any ``**kwargs``."""
    present = list(signature.parameters.values())
    last = [p for p in present if p.kind is inspect.Parameter.VAR_KEYWORD]
    first = [p for p in present if p.kind is not inspect.Parameter.VAR_KEYWORD]
    return signature.replace(parameters=[*first, *added, *last])


def _runner(endpoint: Callable[..., Any]) -> Callable[[dict[str, Any]], Awaitable[Any]]:
    if is_coroutine_endpoint(endpoint):

        async def run_on_loop(values: dict[str, Any]) -> Any:
            return await endpoint(**values)

        return run_on_loop

    async def run_in_thread(values: dict[str, Any]) -> Any:
        result = await run_in_threadpool(endpoint, **values)
        # a plain function may wrap a coroutine function
        return await result if inspect.isawaitable(result) else result

    return run_in_thread


# -- one request


class _Call:
    """One request's passage: what its wrapper and its handler share."""

    def __init__(
        self, policy: Policy, context: Context, request: Request, shortcut: Shortcut | None
    ) -> None:
        self._shortcut = shortcut
        self.reading = _reading(policy.read, context, request)
        self.writing = _writing(policy.write, context, request)
        self._of_other_method = policy.read is not None and self.reading is None

    async def run(
        self,
        endpoint: Callable[[dict[str, Any]], Awaitable[Any]],
        values: Values,
        request: Request,
        injected: Response,
    ) -> Any:
        """Answer from the cache, or run the endpoint."""
        if self.reading is not None:
            answer = await self.reading.before(values, request, injected)
            if self._shortcut is not None and self.reading.target is not None:
                self._shortcut.learn(request.scope, self.reading.target)
            if answer is not None:
                return answer
        if self.writing is not None:
            refused = await self.writing.before(values, request)
            if refused is not None:
                return refused
        try:
            result = await endpoint(dict(values))
        except Exception as error:
            if self.reading is not None:
                self.reading.raised(error)
            raise
        if self.reading is not None:
            self.reading.ran(result)
        if self.writing is not None:
            self.writing.ran(result)
        return result

    async def finish(self, response: Response) -> Response:
        """What is due once the response is known."""
        if self.writing is not None:
            response = await self.writing.finish(response)
        if self.reading is not None:
            response = await self.reading.finish(response)
        elif self._of_other_method:
            response.raw_headers += Use(None, Forward.METHOD).fields(debug=False)
        return response

    async def abandon(self, error: BaseException) -> Response | None:
        """What is due when there is no response; a stale one that stands in, if there is one."""
        try:
            return None if self.reading is None else await self.reading.failed(error)
        finally:
            if self.writing is not None:
                await self.writing.abandon(error)


def _reading(read: ReadPolicy | None, context: Context, request: Request) -> Reading | None:
    if read is None or request.method != "GET":
        return None
    # a run that refreshes answers nobody
    if context.telemetry is None or RERUN in request.scope:
        return Reading(read, context, request)
    return ToldReading(read, context, request, context.telemetry)


def _writing(write: WritePolicy | None, context: Context, request: Request) -> Writing | None:
    if write is None:
        return None
    if context.telemetry is None:
        return Writing(write, context, request)
    return ToldWriting(write, context, request, context.telemetry)


async def _serve(
    handler: Handler,
    policy: Policy,
    request: Request,
    context: Context | None,
    shortcut: Shortcut | None = None,
) -> Response:
    try:
        explainer = request.scope.get(EXPLAIN)
        if explainer is not None:
            request.scope[SCOPE_KEY] = explainer.passage(policy, context)
            return await handler(request)
        if context is None:
            return await handler(request)
        return await _pass_cache(handler, policy, request, context, shortcut)
    except BaseException as error:
        _name_author(error, policy.endpoint)
        raise


async def _pass_cache(
    handler: Handler,
    policy: Policy,
    request: Request,
    context: Context,
    shortcut: Shortcut | None,
) -> Response:
    call = _Call(policy, context, request, shortcut)
    if policy.write is not None and policy.write.late_cleanup and call.writing:
        _push_first(request, "fastapi_inner_astack", call.writing.after_cleanup)
        _push_first(request, "fastapi_function_astack", call.writing.after_function_cleanup)
    if policy.read is not None and policy.read.statuses and call.reading:
        _push_first(request, "fastapi_inner_astack", call.reading.after_cleanup)
    known = None if shortcut is None else shortcut.find(request.scope)
    try:
        answer = await call.reading.early(known) if known and call.reading else None
        if answer is None:
            request.scope[SCOPE_KEY] = call
            answer = await handler(request)
        return await call.finish(answer)
    except BaseException as error:
        stand_in = await call.abandon(error)
        if stand_in is None:
            raise
        await _clean_up(request, error)
        return stand_in
    finally:
        # the passage knows the request: left in its scope, both would wait for the collector
        request.scope.pop(SCOPE_KEY, None)


def _push_first(request: Request, stack: str, due: Callable[..., Awaitable[bool]]) -> None:
    """Have something done after the dependencies' own cleanup, which is pushed later."""
    if (cleanup := request.scope.get(stack)) is not None:
        cleanup.push_async_exit(due)


async def _clean_up(request: Request, error: BaseException) -> None:
    """Let dependencies clean up after an error that goes no further; raises what they raise."""
    for name in ("fastapi_function_astack", "fastapi_inner_astack"):
        if (cleanup := request.scope.get(name)) is not None:
            await cleanup.pop_all().__aexit__(type(error), error, error.__traceback__)


def _name_author(error: BaseException, endpoint: Callable[..., Any]) -> None:
    """Make validation errors of newer FastAPI releases name the author's file, not ours."""
    if getattr(error, "endpoint_file", None) is None:
        return
    try:
        lines = inspect.getsourcelines(endpoint)
        where = {
            "endpoint_file": inspect.getsourcefile(endpoint),
            "endpoint_line": lines[1],
            "endpoint_function": getattr(endpoint, "__name__", type(endpoint).__name__),
        }
    except (OSError, TypeError):
        return
    for name, value in where.items():
        setattr(error, name, value)
