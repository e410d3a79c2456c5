"""Endpoints wrapped with the cache: FastAPI sees their own signature, and passes the wrapper the
request and response as well.

A wrapper calls the passage in its request's scope; without one the endpoint runs unchanged.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from types import FunctionType
from typing import Any, NamedTuple, Protocol

from fastapi.dependencies.models import Dependant
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from .declare import SCOPE_KEY, Declaration
from .handlers import held_within
from .policy import Values
from .signature import is_coroutine_endpoint, parameter_of_type

DECLARATION = "__redis_fastapi__"
"""Attribute of a wrapper that holds its endpoint's declaration."""

_REQUEST = "redis_fastapi_request_"
_RESPONSE = "redis_fastapi_response_"

Run = Callable[[dict[str, Any], Callable[[], None]], Awaitable[Any]]
"""Runs an endpoint with its values. A plain function calls the second argument, in its thread, when
it ends, even if its request was cancelled before that."""


class Passage(Protocol):
    """What stands between one request and its endpoint."""

    async def run(self, endpoint: Run, values: Values, request: Request, injected: Response) -> Any:
        """Respond in place of the endpoint, or run it."""


class Wrapper(NamedTuple):
    """A wrapped endpoint, and the names of its parameters for request and response."""

    endpoint: Callable[..., Any]
    request_name: str
    response_name: str


def install_wrapper(dependant: Dependant, declaration: Declaration) -> None:
    """Replace the endpoint in a dependency tree that FastAPI has already resolved."""
    if hasattr(dependant.call, DECLARATION):
        return
    names = dependant.request_param_name, dependant.response_param_name
    # those of a wrapper that was replaced are none of the endpoint's
    own = (None if name in (_REQUEST, _RESPONSE) else name for name in names)
    # instrumentation may have wrapped the endpoint already
    wrapper = wrapped(declaration, *own, endpoint=dependant.call)
    dependant.request_param_name = wrapper.request_name
    dependant.response_param_name = wrapper.response_name
    dependant.call = wrapper.endpoint


def may_reach_wrapper(call: Any) -> bool:
    """Whether a library may have wrapped a wrapper, rather than put a function in its place."""
    return type(call) is not FunctionType or held_within(call, _is_wrapper) is not None


def _is_wrapper(one: object) -> bool:
    return hasattr(one, DECLARATION)


def wrapped(
    declaration: Declaration,
    request_name: str | None = None,
    response_name: str | None = None,
    *,
    endpoint: Callable[..., Any] | None = None,
) -> Wrapper:
    """Wrap an endpoint.

    Args:
        declaration: Of the endpoint.
        request_name: The endpoint's parameter for the request, if known.
        response_name: The endpoint's parameter for the response, if known.
        endpoint: What to run, if not the function that was declared.
    """
    signature = declaration.signature
    own_request = request_name or parameter_of_type(signature, Request)
    own_response = response_name or parameter_of_type(signature, Response)
    request_name, response_name = own_request or _REQUEST, own_response or _RESPONSE
    run = _runner(endpoint or declaration.endpoint)

    async def cached_endpoint(**values: Any) -> Any:
        request = values[request_name] if own_request else values.pop(request_name, None)
        response = values[response_name] if own_response else values.pop(response_name, None)
        # there is none where a replacement of this wrapper calls it
        passage: Passage | None = None if request is None else request.scope.get(SCOPE_KEY)
        if passage is None:
            return await run(values, _ignore_end)
        return await passage.run(run, values, request, response)

    added: dict[str, Any] = {} if own_request else {request_name: Request}
    if not own_response:
        added[response_name] = Response
    _mimic_endpoint(cached_endpoint, declaration, added)
    return Wrapper(cached_endpoint, request_name, response_name)


def _mimic_endpoint(wrapper: Any, declaration: Declaration, added: dict[str, Any]) -> None:
    """Give a wrapper the attributes that FastAPI reads, and the added parameters."""
    functools.update_wrapper(wrapper, declaration.endpoint)
    # some FastAPI releases follow __wrapped__
    wrapper.__dict__.pop("__wrapped__", None)
    signature = wrapper.__signature__ = _with_parameters(declaration.signature, added)
    # others read types from here, and may put a wrapper of their own round this one
    wrapper.__annotations__ = _annotations_of(signature)
    wrapper.__name__ = declaration.name
    setattr(wrapper, DECLARATION, declaration)


def _annotations_of(signature: inspect.Signature) -> dict[str, Any]:
    found = {one.name: one.annotation for one in signature.parameters.values()}
    found["return"] = signature.return_annotation
    return {name: kind for name, kind in found.items() if kind is not inspect.Signature.empty}


def _with_parameters(signature: inspect.Signature, added: dict[str, Any]) -> inspect.Signature:
    """The signature with keyword-only parameters added before any ``**kwargs``."""
    present = list(signature.parameters.values())
    first = [p for p in present if p.kind is not inspect.Parameter.VAR_KEYWORD]
    between = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
        for name, annotation in added.items()
    ]
    last = [p for p in present if p.kind is inspect.Parameter.VAR_KEYWORD]
    return signature.replace(parameters=[*first, *between, *last])


def _runner(endpoint: Callable[..., Any]) -> Run:
    if is_coroutine_endpoint(endpoint):

        async def run_on_loop(values: dict[str, Any], _: Callable[[], None]) -> Any:
            return await endpoint(**values)

        return run_on_loop

    async def run_in_thread(values: dict[str, Any], ended: Callable[[], None]) -> Any:
        def run_to_its_end() -> Any:
            try:
                return endpoint(**values)
            finally:
                ended()

        result = await run_in_threadpool(run_to_its_end)
        # a plain function may wrap a coroutine function
        return await result if inspect.isawaitable(result) else result

    return run_in_thread


def _ignore_end() -> None:
    """Ignore that an endpoint has ended."""
