"""The way to an entry that is known from the text of a request, and what it leads past.

- A path with its query leads to a target once a request with the same text has passed validation,
  and to that target only. The raw text is an alias then: many may lead to one target. So it is
  where nothing else selects, and where parameters are validated by a function of their text.
- It leads past dependencies and validation where both are sure to pass: no dependencies, headers,
  cookies or body, no ``Request``. Elsewhere it is taken after them, and spares making a key.
- A dependency that takes the ``Request`` may give it other parameters, by the user who asks, say.
  There the text does not decide, and there is no shortcut.
- How many are known is bounded, and so is their length: clients choose them.
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

from ._keys import Target
from ._policy import Policy, ReadPolicy
from ._prepared import Prepared
from ._reads import credentials_of, tree_reads, union
from ._resource import ResourceTemplate

_MOST_KNOWN = 1_024
_LONGEST = 1_024
"""Characters of an alias."""


Alias = tuple[str, bytes, str | None, str | None]
"""What a request says of where it goes, as it came: path, query and two root paths."""


def alias_of(scope: Mapping[str, Any]) -> Alias:
    """The alias of a request."""
    get = scope.get
    return scope["path"], scope["query_string"], get("root_path"), get("app_root_path")


def is_short(alias: Iterable[str | bytes | None]) -> bool:
    """Whether an alias may be remembered."""
    return sum(len(part) for part in alias if part is not None) <= _LONGEST


_RoutedAlias = tuple[str, bytes, str | None, str | None, str]


def _routed_alias_of(scope: Mapping[str, Any]) -> _RoutedAlias:
    """The alias of a request at its endpoint, which sees what a convertor makes of its path now."""
    return *alias_of(scope), str(scope.get("path_params"))


class Destination:
    """Where an alias leads, and the answer that was sent there last."""

    __slots__ = ("prepared", "target")

    def __init__(self, target: Target) -> None:
        self.target = target
        self.prepared: Prepared | None = None


class Shortcut:
    """The targets of one endpoint at one place, by the aliases that passed validation.

    Args:
        dependant: What is in force there.
        early: Whether it leads past dependencies and validation.
        most: Aliases that are known at most; the one that was not used for longest goes first.
    """

    def __init__(
        self, dependant: Dependant, *, early: bool = True, most: int = _MOST_KNOWN
    ) -> None:
        self.dependant = dependant
        self.early = early
        self._most = most
        self._known: OrderedDict[_RoutedAlias, Destination] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def find(self, scope: Mapping[str, Any]) -> Destination | None:
        """Where a request goes, if that is known."""
        if scope["method"] != "GET":
            return None
        alias = _routed_alias_of(scope)
        known = self._known.get(alias)
        if known is not None:
            self._known.move_to_end(alias)
        return known

    def learn(self, scope: Mapping[str, Any], target: Target) -> None:
        """Remember where a request went whose parameters were valid."""
        alias = _routed_alias_of(scope)
        if not is_short(alias):
            return
        self._known[alias] = Destination(target)
        if len(self._known) > self._most:
            self._known.popitem(last=False)


def shortcut_for(
    route_class: type[APIRoute], dependant: Dependant, policy: Policy, *, own_request: bool
) -> Shortcut | None:
    """A shortcut, or None where more than path and query may select.

    Args:
        route_class: Of the route.
        dependant: What is in force where it serves.
        policy: Its policy there.
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
    """Whether no dependency has the request, whose path and query it might change."""
    below = union(map(tree_reads, dependant.dependencies))
    return not below.opaque and credentials_of(below.schemes) is not None


def _keyed_by_text(policy: ReadPolicy, own: set[str]) -> bool:
    """Whether only path and query make the key, as far as templates go by the endpoint's `own`."""
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
    """Whether a parameter's text is valid or not at any time, and always gives the same value."""
    return (
        field.default_factory is None
        and all(map(_is_constraint, field.metadata))
        and _is_plain(field.annotation)
    )


def _is_constraint(metadata: object) -> bool:
    """Whether metadata only bounds a value: no validator of the author's, no clock."""
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
