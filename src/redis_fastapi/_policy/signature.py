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

    An annotation with a name that exists only for type checking stays a string.
    """
    try:
        signature = inspect.signature(endpoint, eval_str=True)
    except NameError:
        signature = _lazy_signature(endpoint)
    # inspect does not evaluate a signature set as ``__signature__``
    names = names_of_module(endpoint)
    parameters = [
        parameter.replace(annotation=_evaluated(parameter.annotation, names))
        for parameter in signature.parameters.values()
    ]
    returns = _evaluated(signature.return_annotation, names)
    return signature.replace(parameters=parameters, return_annotation=returns)


def names_of_module(endpoint: Callable[..., Any]) -> dict[str, Any]:
    """The global names that an endpoint's annotations may use."""
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
    """The first undefined name in an annotation's text."""
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
    """The function behind partials, wrappers and callable objects."""
    function = inspect.unwrap(_below_partials(endpoint))
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    return inspect.unwrap(type(function).__call__)


def is_coroutine_endpoint(endpoint: Callable[..., Any]) -> bool:
    """Whether the endpoint is a coroutine function; otherwise it runs in the thread pool."""
    endpoint = _below_partials(endpoint)
    if inspect.isroutine(endpoint):
        return inspect.iscoroutinefunction(endpoint)
    return inspect.iscoroutinefunction(type(endpoint).__call__)


def is_generator_endpoint(endpoint: Callable[..., Any]) -> bool:
    """Whether the endpoint is a generator function."""
    function = _function(endpoint)
    return inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)


def is_checked_by_requires(endpoint: Callable[..., Any]) -> bool:
    """Whether the endpoint is decorated with Starlette's ``@requires``."""
    return _is_of_requires(inspect.unwrap(_below_partials(endpoint), stop=_is_of_requires))


def _is_of_requires(function: Callable[..., Any]) -> bool:
    # its wrappers copy the name and module of what they wrap, but not the globals
    return getattr(function, "__globals__", None) is vars(authentication)


def parameter_of_type(signature: inspect.Signature, wanted: type) -> str | None:
    """Name of the first parameter annotated with a class or a subclass of it, or None."""
    for parameter in signature.parameters.values():
        annotation = parameter.annotation
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        if is_class(annotation, wanted):
            return parameter.name
    return None


def is_class(annotation: Any, *wanted: type) -> bool:
    """Whether an annotation is one of these classes, or derives from one."""
    # list[int] passes isclass on 3.10, but issubclass rejects it
    plain = get_origin(annotation) is None and inspect.isclass(annotation)
    return plain and issubclass(annotation, wanted)


def type_text(annotation: Any) -> str:
    """An annotation as it would be written in source, for messages."""
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


def returns_stream(annotation: Any) -> bool:
    """Whether an annotation is that of a streamed response."""
    kind = get_origin(annotation) or annotation
    return kind in _STREAMS or is_class(kind, StreamingResponse, FileResponse)


def returns_response(annotation: Any) -> bool:
    """Whether an annotation is a response class."""
    return is_class(annotation, Response)
