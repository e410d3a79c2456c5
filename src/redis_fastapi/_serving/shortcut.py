"""From the raw text of a request straight to its target, without making a key.

- Once a request with some path and query has passed validation, the same text always leads to the
  same target. The text is an alias: many may lead to one target. This holds where nothing else
  selects, and where validation of each parameter is a function of its text.
- An early shortcut also skips dependencies and validation. It exists where both are certain to
  pass: no dependencies, headers, cookies, body or ``Request``. A late one is used after them.
- A dependency that takes the ``Request`` may change its parameters, depending on the user for
  example. There the text does not decide, and there is no shortcut.
- The number of aliases and their length are bounded, since clients choose them.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin
from uuid import UUID

from annotated_types import BaseMetadata
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from .._policy.handlers import is_instrumented
from .._policy.inputs import credentials_of, tree_inputs, union
from .._policy.policy import Policy, ReadPolicy
from .._policy.resource import ResourceTemplate
from .._redis.keys import Target
from .prepared import Prepared

_MOST_KNOWN = 1_024
_LONGEST = 1_024
"""Characters of an alias."""


Alias = tuple[str, bytes, str | None, str | None]
"""Path, query and two root paths, exactly as received."""


def alias_of(scope: Mapping[str, Any]) -> Alias:
    """The alias of a request."""
    get = scope.get
    return scope["path"], scope["query_string"], get("root_path"), get("app_root_path")


def is_short(alias: Iterable[str | bytes | None]) -> bool:
    """Whether an alias may be remembered."""
    return sum(map(len, filter(None, alias))) <= _LONGEST


RoutedAlias = tuple[str, bytes, str | None, str | None, str]


def _routed_alias_of(scope: Mapping[str, Any]) -> RoutedAlias:
    """The alias of a routed request, with what convertors made of its path this time."""
    return *alias_of(scope), str(scope.get("path_params"))


class Destination:
    """What an alias leads to: a target, and the response last prepared for it."""

    __slots__ = ("prepared", "target")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.prepared: Prepared | None = None


class Shortcut:
    """The destinations of one endpoint at one place, by the aliases that passed validation.

    Args:
        dependant: The dependencies in force there.
        early: Whether it skips dependencies and validation.
        most: Upper bound on the aliases remembered; the least recently used goes first.
    """

    def __init__(
        self, dependant: Dependant, *, early: bool = True, most: int = _MOST_KNOWN
    ) -> None:
        self.dependant = dependant
        self.early = early
        self._most = most
        self._known: OrderedDict[RoutedAlias, Destination] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def alias_of(self, scope: Mapping[str, Any]) -> RoutedAlias | None:
        """The alias of a request as its route received it, if it may lead anywhere."""
        return _routed_alias_of(scope) if scope["method"] == "GET" else None

    def find(self, alias: RoutedAlias) -> Destination | None:
        """The destination of the requests with this alias, if it is known."""
        known = self._known.get(alias)
        if known is not None:
            self._known.move_to_end(alias)
        return known

    def learn(self, alias: RoutedAlias, target: Target) -> None:
        """Remember the target of a request that has passed validation."""
        if not is_short(alias):
            return
        # an application may be instrumented until its first request
        self.early = self.early and not is_instrumented()
        self._known[alias] = Destination(target)
        if len(self._known) > self._most:
            self._known.popitem(last=False)


def shortcut_for(
    route_class: type[APIRoute], dependant: Dependant, policy: Policy, *, own_request: bool
) -> Shortcut | None:
    """A shortcut for a route, or None if more than path and query may select.

    Args:
        route_class: Of the route.
        dependant: The dependencies in force where it serves.
        policy: The policy compiled for them.
        own_request: Whether the endpoint itself takes the ``Request``.
    """
    own = (*dependant.path_params, *dependant.query_params)
    known = (
        not _is_customised(route_class)
        and policy.write is None
        and policy.read is not None
        and _reaches_endpoint_as_it_came(dependant)
        and _keyed_by_text(policy.read, {field.name for field in own})
        and all(_depends_on_its_text(field.field_info) for field in own)
    )
    early = not own_request and _reads_path_and_query_only(dependant)
    return Shortcut(dependant, early=early) if known else None


def _is_customised(route_class: type[APIRoute]) -> bool:
    known = {"builtins", "fastapi", "starlette", __name__.partition(".")[0]}
    return not known.issuperset(one.__module__.partition(".")[0] for one in route_class.__mro__)


def _reaches_endpoint_as_it_came(dependant: Dependant) -> bool:
    """Whether no dependency gets the request, which it could change."""
    below = union(map(tree_inputs, dependant.dependencies))
    return not below.opaque and credentials_of(below.schemes) is not None


def _keyed_by_text(policy: ReadPolicy, own: set[str]) -> bool:
    """Whether the key depends on path and query only; `own` are the endpoint's parameters."""
    names, selectors = policy.selectors.names, policy.selectors
    if policy.uncacheable is not None or policy.key_builder is not None:
        return False
    if names.headers or names.cookies or selectors.body or selectors.path:
        return False
    if policy.key is not None and not isinstance(policy.key, ResourceTemplate):
        return False
    templates = [*policy.groups, *((policy.key.template,) if policy.key else ())]
    fields = [*selectors.vary, *(field for one in templates for field in one.fields)]
    return own.issuperset(one.name for one in (*policy.parameters, *fields))


def _reads_path_and_query_only(dependant: Dependant) -> bool:
    return not (
        dependant.dependencies
        or dependant.header_params
        or dependant.cookie_params
        or dependant.body_params
        or dependant.http_connection_param_name
        or dependant.websocket_param_name
    )


def _depends_on_its_text(field: Any) -> bool:
    """Whether validating a parameter's text always has the same result."""
    return (
        field.default_factory is None
        and all(map(_is_constraint, field.metadata))
        and _is_plain(field.annotation)
    )


def _is_constraint(metadata: object) -> bool:
    """Whether metadata only constrains a value, without a custom validator or a clock."""
    library = type(metadata).__module__.partition(".")[0] in ("annotated_types", "pydantic")
    return library and isinstance(metadata, BaseMetadata) and not hasattr(metadata, "func")


_PLAIN = frozenset(
    {NoneType, bool, bytes, int, float, str, UUID, Decimal, date, datetime, time, timedelta}
)
_COMPOUND = frozenset({Union, UnionType, list, set, frozenset, tuple})


def _is_plain(annotation: Any) -> bool:
    origin = get_origin(annotation)
    if origin is Literal:
        return True
    if origin in _COMPOUND:
        return all(one is ... or _is_plain(one) for one in get_args(annotation))
    if origin is None and inspect.isclass(annotation) and issubclass(annotation, Enum):
        return _function(annotation._missing_) is _function(Enum._missing_)
    return isinstance(annotation, type) and annotation in _PLAIN


def _function(method: Callable[..., Any]) -> Any:
    return getattr(method, "__func__", method)
