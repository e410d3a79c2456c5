"""What a tree of FastAPI dependencies reads from a request, by looking at ``Dependant``.

The endpoint's own parameters and the dependencies whose values it receives decide the response.
Guards in ``dependencies=[...]`` only admit or refuse a request: the endpoint does not receive their
values, so they never select an entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from fastapi import params
from fastapi.dependencies.models import Dependant
from fastapi.openapi.models import APIKeyIn
from fastapi.security import (
    APIKeyCookie,
    APIKeyHeader,
    APIKeyQuery,
    OpenIdConnect,
)
from fastapi.security.base import SecurityBase
from fastapi.security.http import HTTPBase
from fastapi.security.oauth2 import OAuth2
from pydantic import BaseModel

from .signature import is_class, is_generator_endpoint

EVERYTHING = "*"
"""Stands for every query parameter, every header or every cookie of a request."""


_INJECTED: Final = "redis_fastapi._app.runtime"
"""The module with the dependencies that inject the cache or the client."""


class Names(NamedTuple):
    """Names on the wire of what is read, each sorted; headers in lower case."""

    query: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()

    def plus(self, other: Names) -> Names:
        """Union of both."""
        return Names(
            tuple(sorted({*self.query, *other.query})),
            tuple(sorted({*self.headers, *other.headers})),
            tuple(sorted({*self.cookies, *other.cookies})),
        )


NO_NAMES: Final = Names()


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one tree of dependencies reads.

    Attributes:
        names: Declared query parameters, headers and cookies.
        schemes: Security schemes in the tree.
        opaque: Names of callables that take the whole request, and so may read anything.
        body: Whether a body is read.
        form: Whether that body is a form.
        generators: Whether a dependency cleans up after ``yield``.
    """

    names: Names = NO_NAMES
    schemes: tuple[SecurityBase, ...] = ()
    opaque: tuple[str, ...] = ()
    body: bool = False
    form: bool = False
    generators: bool = False

    def plus(self, other: Inputs) -> Inputs:
        """Union of both."""
        return Inputs(
            self.names.plus(other.names),
            (*self.schemes, *other.schemes),
            (*self.opaque, *other.opaque),
            self.body or other.body,
            self.form or other.form,
            self.generators or other.generators,
        )


@dataclass(frozen=True, slots=True)
class RouteInputs:
    """Everything one route reads, by what reads it.

    Attributes:
        own: The endpoint's own parameters.
        own_query: Its query parameters by name, each with its names on the wire.
        received: The dependencies whose values it receives.
        guards: The dependencies whose values it does not receive.
        lasting: What guards with ``yield``, which stay open while the endpoint runs, read.
    """

    own: Inputs
    own_query: tuple[tuple[str, tuple[str, ...]], ...]
    received: Inputs
    guards: Inputs
    lasting: Names


def route_inputs(dependant: Dependant) -> RouteInputs:
    """Everything a route's effective dependencies read."""
    guards = [below for below in dependant.dependencies if below.name is None]
    return RouteInputs(
        own_inputs(dependant),
        tuple((field.name, _wire_names([field])) for field in dependant.query_params),
        union(tree_inputs(below) for below in dependant.dependencies if below.name is not None),
        union(map(tree_inputs, guards)),
        union(inputs for guard in guards for inputs in _lasting(guard)).names,
    )


def _lasting(dependant: Dependant) -> Iterator[Inputs]:
    """What the dependencies with ``yield`` in a tree read and receive."""
    if dependant.call is not None and is_generator_endpoint(dependant.call):
        yield tree_inputs(dependant)
        return
    for below in dependant.dependencies:
        yield from _lasting(below)


def own_inputs(dependant: Dependant) -> Inputs:
    """What one callable's own parameters read, without its dependencies."""
    names = Names(
        _wire_names(dependant.query_params),
        tuple(name.lower() for name in _wire_names(dependant.header_params)),
        _wire_names(dependant.cookie_params),
    )
    form = any(isinstance(field.field_info, params.Form) for field in dependant.body_params)
    return Inputs(names, body=bool(dependant.body_params), form=form)


def tree_inputs(dependant: Dependant) -> Inputs:
    """What a dependency and everything it depends on read."""
    inputs = own_inputs(dependant)
    call: Any = dependant.call
    if isinstance(call, SecurityBase):
        inputs = inputs.plus(Inputs(schemes=(call,)))
    elif takes_request(dependant) and not _is_ours(call):
        inputs = inputs.plus(Inputs(opaque=(getattr(call, "__name__", type(call).__name__),)))
    if call is not None and is_generator_endpoint(call):
        inputs = inputs.plus(Inputs(generators=True))
    return union(tree_inputs(below) for below in dependant.dependencies).plus(inputs)


def hands_out_cache(dependant: Dependant) -> bool:
    """Whether anything in a tree receives the cache, or the client, from this library."""
    return any(
        _module_of(below.call) == _INJECTED or hands_out_cache(below)
        for below in dependant.dependencies
    )


def union(many: Iterable[Inputs]) -> Inputs:
    """Union of any number of them."""
    total = Inputs()
    for inputs in many:
        total = total.plus(inputs)
    return total


def takes_request(dependant: Dependant) -> bool:
    """Whether a callable takes the request itself."""
    return bool(dependant.request_param_name or dependant.http_connection_param_name)


def credentials_of(schemes: Iterable[SecurityBase]) -> Names | None:
    """Where these security schemes read credentials; None if one is not FastAPI's own."""
    total = Names()
    for scheme in schemes:
        found = _credentials(scheme)
        if found is None:
            return None
        total = total.plus(found)
    return total


def _credentials(scheme: SecurityBase) -> Names | None:
    # a scheme with its own __call__ may read anything
    if not _module_of(_call_of(scheme)).startswith("fastapi.security."):
        return None
    if isinstance(scheme, (APIKeyHeader, APIKeyQuery, APIKeyCookie)):
        return _api_key(scheme.model.in_, scheme.model.name)
    if isinstance(scheme, (HTTPBase, OAuth2, OpenIdConnect)):
        return Names(headers=("authorization",))
    return None


def _api_key(place: APIKeyIn, name: str) -> Names:
    if place is APIKeyIn.query:
        return Names(query=(name,))
    if place is APIKeyIn.cookie:
        return Names(cookies=(name,))
    return Names(headers=(name.lower(),))


def _wire_names(fields: Iterable[Any]) -> tuple[str, ...]:
    """The names by which FastAPI reads these parameters from a request."""
    return tuple(sorted({name for field in fields for name in _names_of(field)}))


def _names_of(field: Any) -> Iterator[str]:
    annotation = field.field_info.annotation
    if is_class(annotation, BaseModel):
        yield from _model_names(annotation, header=isinstance(field.field_info, params.Header))
        return
    yield field.alias
    if isinstance(field.field_info.validation_alias, str):
        yield field.field_info.validation_alias


def _model_names(model: type[BaseModel], *, header: bool) -> Iterator[str]:
    """The names that a parameter model reads; `EVERYTHING` if it accepts undeclared ones."""
    validators = model.__pydantic_decorators__.model_validators.values()
    sees_all = any(validator.info.mode != "after" for validator in validators)
    if sees_all or model.model_config.get("extra") == "allow":
        yield EVERYTHING
    for name, info in model.model_fields.items():
        alias = info.validation_alias or info.alias or name
        if not isinstance(alias, str):
            yield EVERYTHING
        else:
            yield alias
            yield name
            if header:
                yield name.replace("_", "-")


def _call_of(instance: Any) -> Any:
    """The function that runs when an instance is called."""
    return vars(type(instance)).get("__call__") or getattr(type(instance), "__call__", None)  # noqa: B004


def _is_ours(call: Any) -> bool:
    return _module_of(call).split(".")[0] == __name__.split(".")[0]


def _module_of(call: Any) -> str:
    return str(getattr(call, "__module__", ""))
