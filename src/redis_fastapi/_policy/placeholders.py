"""The rule for templates: each placeholder names a parameter, and an attribute that it may have.

Like the table in `rules.py`, to which it belongs, it imports neither FastAPI nor mypy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .facts import (
    EndpointFacts,
    MarkerFacts,
    PlacedMarker,
    Problem,
    closest,
    names_of,
    placed_markers,
)
from .templates import Field, Template

_CODE: Final = "redis-cache-placeholder"
_TEMPLATES: Final = ("group", "key", "vary")
"""Arguments that hold templates; a `vary` is one field without braces."""


def placeholder_problems(endpoint: EndpointFacts) -> Iterator[Problem]:
    """Every template of the endpoint's markers that is malformed or names what does not exist."""
    for marker in placed_markers(endpoint):
        if marker.lenient:
            continue
        for argument in _TEMPLATES:
            for text in names_of(marker.get(argument)):
                yield from _template_problems(marker, argument, text)


def fields_of(marker: MarkerFacts) -> Iterator[Field]:
    """The fields of a marker's templates; malformed templates are left out."""
    for argument in _TEMPLATES:
        for text in names_of(marker.arguments.get(argument)):
            try:
                yield from _fields(argument, text)
            except ValueError:
                continue


def _fields(argument: str, text: str) -> tuple[Field, ...]:
    """The fields of one template; raises ValueError if it is malformed."""
    return (Field.parse(text),) if argument == "vary" else Template.parse(text).fields


def _template_problems(marker: PlacedMarker, argument: str, text: str) -> Iterator[Problem]:
    template = f"{argument}={text!r} of {marker.kind}"
    try:
        fields = _fields(argument, text)
    except ValueError as error:
        fix = _spell_without(marker, argument, text)
        yield marker.problem(_CODE, f"{template} is malformed: {error}", fix, argument)
        return
    parameters, lacking = marker.endpoint.parameters, marker.endpoint.lacking
    if parameters is None:
        return
    for field in fields:
        shown = str(field)
        if field.name not in parameters:
            yield _unknown_parameter(marker, argument, text, field)
        elif shown in lacking:
            message = f"{template} names {shown!r}, but {lacking[shown]}"
            fix = _spell_without(marker, argument, text)
            yield marker.problem(_CODE, message, fix, argument, shown)


def _spell_without(marker: PlacedMarker, argument: str, text: str) -> str:
    written = marker.get(argument)
    others = tuple(one for one in written if one != text) if isinstance(written, tuple) else ()
    changes: dict[str, object] = {argument: others}
    left = {**marker.facts.arguments, **changes}
    if marker.kind == "CacheEvict" and not left.get("group") and not left.get("key"):
        changes["group"] = "products"
    return marker.spell(**changes)


def _unknown_parameter(marker: PlacedMarker, argument: str, text: str, field: Field) -> Problem:
    endpoint = marker.endpoint
    meant = closest(field.name, endpoint.parameters or frozenset())
    hint = f"; did you mean {meant!r}?" if meant else ""
    brace = "" if argument == "vary" else "{"
    right = text.replace(f"{brace}{field.name}", f"{brace}{meant or 'PARAMETER'}", 1)
    written = marker.get(argument)
    fixed: object = right
    if isinstance(written, tuple):
        fixed = tuple(right if one == text else one for one in written)
    return marker.problem(
        _CODE,
        f"{argument}={text!r} of {marker.kind} names {field.name!r}, "
        f"which is not a parameter of {endpoint.name}{hint}",
        marker.spell(**{argument: fixed}),
        argument,
        str(field),
    )
