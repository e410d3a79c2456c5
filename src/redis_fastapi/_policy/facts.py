"""What a rule knows about a declaration, and the problems that it yields.

Facts are plain data, and ``UNKNOWN`` stands for what the caller cannot prove; a rule that needs an
unknown fact stays silent. This module imports neither FastAPI nor mypy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from difflib import get_close_matches
from typing import Final, NamedTuple


class Unknown:
    """Type of ``UNKNOWN``."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown()

_DEPENDENCIES: Final = {"Cached": "cache", "CachePut": "cache_put", "CacheEvict": "cache_evict"}


@dataclass(frozen=True, slots=True)
class MarkerFacts:
    """One marker: its name and its arguments, by name; an absent one has its default.

    ``lenient`` marks the dependency form, where a ttl of 0 means "no expiry" and text in braces
    that names no parameter is only text.
    """

    kind: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class PutFacts:
    """A ``CachePut`` and the GET whose entry it writes; None is "not known".

    ``reader`` names that GET; empty where no cached GET serves the path.
    """

    groups: tuple[str, ...] | None = ()
    reader: str | None = None
    reader_groups: tuple[str, ...] | None = None
    same_model: bool | None = None


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """One endpoint as far as it is known; None is "not known", for the type checker's sake."""

    name: str
    returns: str = "Product"
    markers: tuple[MarkerFacts, ...] = ()
    classes: tuple[str, ...] = ()
    misplaced: tuple[str, ...] = ()
    methods: frozenset[str] | None = None
    parameters: frozenset[str] | None = None
    cache_route: bool | None = None
    route_class: str = ""
    """Name of the class that made the route, where that is not FastAPI's own."""
    generator: bool | None = None
    form: bool | None = None
    secured_by: tuple[str, ...] | None = None
    """Parameters that receive something from a security scheme."""
    checked_by_requires: bool | None = None
    """Whether Starlette's ``@requires`` stands round the endpoint."""
    lacking: Mapping[str, str] = field(default_factory=dict)
    """Fields such as ``user.idd`` that their parameter's type cannot have, and why."""
    stream: str | None = None
    """Name of the return type where it is sent piece by piece."""
    response: bool = False
    """Whether that type is a response, which can be recorded while it is sent."""
    schemaless: str | None = None
    """Name of a class in the return type that pydantic cannot serialize."""
    put: PutFacts | None = None


class Problem(NamedTuple):
    """What is wrong, and the line to write instead."""

    code: str
    message: str
    fix: str
    marker: int | None = None
    argument: str | None = None
    fragment: str | None = None


class PlacedMarker(NamedTuple):
    """A marker of an endpoint, and its position among the endpoint's markers."""

    endpoint: EndpointFacts
    position: int
    facts: MarkerFacts

    @property
    def kind(self) -> str:
        """Name of its class."""
        return self.facts.kind

    @property
    def lenient(self) -> bool:
        """Whether it is a dependency."""
        return self.facts.lenient

    def get(self, argument: str, default: object = None) -> object:
        """The value of an argument."""
        return self.facts.arguments.get(argument, default)

    def spell(self, **changes: object) -> str:
        """The declaration as source text, with some arguments changed; None drops one."""
        return spell(self.endpoint, self.facts, **changes)

    def problem(
        self,
        code: str,
        message: str,
        fix: str,
        argument: str | None = None,
        fragment: str | None = None,
    ) -> Problem:
        """A problem of this marker."""
        return Problem(code, message, fix, self.position, argument, fragment)


def placed_markers(endpoint: EndpointFacts) -> Iterator[PlacedMarker]:
    """The markers of an endpoint in their order."""
    for index, facts in enumerate(endpoint.markers):
        yield PlacedMarker(endpoint, index, facts)


def spell(facts: EndpointFacts, marker: MarkerFacts, **changes: object) -> str:
    """A declaration as source text, with some arguments changed; None drops one."""
    arguments = {**marker.arguments, **changes}
    shown = ", ".join(
        f"{name}={_spelt(value)}"
        for name, value in arguments.items()
        if value is not None and value != ()
    )
    if marker.lenient:
        return f"Depends({_DEPENDENCIES[marker.kind]}({shown}))"
    return f"-> Annotated[{facts.returns}, {marker.kind}({shown})]"


def _spelt(value: object) -> str:
    if isinstance(value, Unknown):
        return "..."
    return str(getattr(value, "__name__", repr(value))) if callable(value) else repr(value)


def names_of(value: object) -> tuple[str, ...]:
    """``group`` or ``vary`` as a tuple of strings; anything else is left out."""
    if isinstance(value, str):
        return (value,)
    return (
        tuple(item for item in value if isinstance(item, str)) if isinstance(value, tuple) else ()
    )


def seconds_of(ttl: object) -> float | None:
    """A ttl in seconds; None for anything else."""
    if isinstance(ttl, timedelta):
        return ttl.total_seconds()
    if isinstance(ttl, (int, float)) and not isinstance(ttl, bool):
        return float(ttl)
    return None


def closest(name: str, options: frozenset[str]) -> str | None:
    """The option that a misspelt name most likely means, or None."""
    found = get_close_matches(name, sorted(options), n=1)
    return found[0] if found else None
