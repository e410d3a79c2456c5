"""Signatures as FastAPI reads them, for functions, partials and callable objects."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from starlette import authentication
from starlette.responses import FileResponse, Response, StreamingResponse


def resolve_signature(endpoint: Callable[..., Any]) -> inspect.Signature:
    """The signature with its string annotations evaluated.

    A name that exists only while type checking stays a string; the other annotations are evaluated.
    """
    try:
        signature = inspect.signature(endpoint, eval_str=True)
    except NameError:
        signature = _lazy_signature(endpoint)
    # inspect leaves a signature that somebody has set as it is
    names = names_of_module(endpoint)
    parameters = [
        parameter.replace(annotation=_evaluated(parameter.annotation, names))
        for parameter in signature.parameters.values()
    ]
    returns = _evaluated(signature.return_annotation, names)
    return signature.replace(parameters=parameters, return_annotation=returns)


def names_of_module(endpoint: Callable[..., Any]) -> dict[str, Any]:
    """The names that an endpoint's annotations may use."""
    names: dict[str, Any] = getattr(_function(endpoint), "__globals__", {})
    return names


def _lazy_signature(endpoint: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        from annotationlib import Format  # exists from 3.14 on

        return inspect.signature(endpoint, annotation_format=Format.FORWARDREF)
    return inspect.signature(endpoint)


def _evaluated(annotation: Any, names: dict[str, Any]) -> Any:
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, names)  # what inspect.signature(eval_str=True) does, one at a time
    except NameError:
        return annotation


def missing_name(annotation: str, names: dict[str, Any]) -> str:
    """The first name that keeps a text from being evaluated."""
    try:
        eval(annotation, names)
    except NameError as error:
        return error.name or annotation
    return annotation


def _below_partials(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    while isinstance(endpoint, functools.partial):
        endpoint = endpoint.func
    return endpoint


def _function(endpoint: Callable[..., Any]) -> Any:
    """The function whose globals and code count, below partials, wrappers and callable objects."""
    function = inspect.unwrap(_below_partials(endpoint))
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return inspect.unwrap(type(function).__call__)


def is_coroutine_endpoint(endpoint: Callable[..., Any]) -> bool:
    """Whether calling the endpoint gives something to await; else it runs in the thread pool."""
    endpoint = _below_partials(endpoint)
    if inspect.isroutine(endpoint):
        return inspect.iscoroutinefunction(endpoint)
    return inspect.iscoroutinefunction(type(endpoint).__call__)


def is_generator_endpoint(endpoint: Callable[..., Any]) -> bool:
    """Whether the endpoint yields its answer piece by piece."""
    function = _function(endpoint)
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def is_checked_by_requires(endpoint: Callable[..., Any]) -> bool:
    """Whether Starlette's ``@requires`` stands between the route and the endpoint."""
    return _is_of_requires(inspect.unwrap(_below_partials(endpoint), stop=_is_of_requires))


def _is_of_requires(function: Callable[..., Any]) -> bool:
    # its wrappers have taken over the name and the module of what they wrap
    return getattr(function, "__globals__", None) is vars(authentication)


def parameter_of_type(signature: inspect.Signature, wanted: type) -> str | None:
    """Name of the first parameter annotated with a class or a subclass of it."""
    for parameter in signature.parameters.values():
        annotation = parameter.annotation
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        # list[int] passes isclass on 3.10 and is no class for issubclass
        plain_class = get_origin(annotation) is None and inspect.isclass(annotation)
        if plain_class and issubclass(annotation, wanted):
            return parameter.name
    return None


def type_text(annotation: Any) -> str:
    """An annotation as its author would write it, for messages."""
    if annotation is inspect.Signature.empty:
        return "..."
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(arguments[0])
    if origin in (Union, UnionType):
        return " | ".join(map(type_text, arguments))
    if annotation in (None, type(None), ...):
        return "..." if annotation is ... else "None"
    if inspect.isclass(origin):
        return f"{origin.__name__}[{', '.join(map(type_text, arguments))}]"
    if inspect.isclass(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "")


_STREAMS = (AsyncIterator, AsyncIterable, AsyncGenerator)
_STREAMED = (StreamingResponse, FileResponse)


def returns_stream(annotation: Any) -> bool:
    """Whether what an annotation stands for is sent piece by piece."""
    kind = get_origin(annotation) or annotation
    return kind in _STREAMS or (inspect.isclass(kind) and issubclass(kind, _STREAMED))


def returns_response(annotation: Any) -> bool:
    """Whether what an annotation stands for is a response."""
    return inspect.isclass(annotation) and issubclass(annotation, Response)
