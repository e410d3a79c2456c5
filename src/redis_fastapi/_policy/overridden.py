"""Dependencies as an application's overrides change them, for requests that are served under these.

What a dependency gives is not part of the key; what it reads from the request is. So an override
counts where it, or what it stands in for, reads something: its own reads select, and entries made
under one override are rejected under another.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from copy import copy
from itertools import chain
from types import FunctionType
from typing import Any, NamedTuple

from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_dependant

from .inputs import NO_NAMES, tree_inputs

Overrides = Mapping[Callable[..., Any], Callable[..., Any]]


class Overridden(NamedTuple):
    """Dependencies with their overrides in place.

    Attributes:
        dependant: The dependencies.
        by: The overrides that count; those of guards do not.
    """

    dependant: Dependant
    by: tuple[Callable[..., Any], ...]


def overridden(dependant: Dependant, overrides: Overrides) -> Overridden:
    """Put overrides into a tree of dependencies, as FastAPI does when it resolves them."""
    changed = copy(dependant)
    found = [_resolved(one, overrides) for one in dependant.dependencies]
    changed.dependencies = [one.dependant for one in found]
    received = (one.by for one in found if one.dependant.name is not None)
    return Overridden(changed, tuple(chain.from_iterable(received)))


def _resolved(dependant: Dependant, overrides: Overrides) -> Overridden:
    call = overrides.get(dependant.call) if dependant.call is not None else None
    if call is None:
        return overridden(dependant, overrides)
    found = overridden(get_dependant(path="/", call=call, name=dependant.name), overrides)
    counts = _reads_request(dependant) or _reads_request(found.dependant)
    return found._replace(by=(call, *found.by)) if counts else found


def _reads_request(dependant: Dependant) -> bool:
    inputs = tree_inputs(dependant)
    return bool(inputs.names != NO_NAMES or inputs.schemes or inputs.opaque or inputs.body)


def identity_of(override: Callable[..., Any]) -> str:
    """A text that no other override has; the same in every process for a module's function."""
    name = getattr(override, "__qualname__", "<>")
    if isinstance(override, FunctionType) and "<" not in name:
        return f"{override.__module__}.{name}"
    return secrets.token_hex(8)
