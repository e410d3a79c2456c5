"""Templates over an endpoint's parameters: ``"product:{product_id}"``, ``"user:{user.id}"``.

A field is a parameter's name and, after dots, attributes of its value. Nothing else of Python's
format language is allowed, so that templates stay predictable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from string import Formatter


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or an attribute of one: ``user.id`` is ``Field("user", ("id",))``."""

    name: str
    attributes: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Field:
        """Read ``name`` or ``name.attribute...``; raises ValueError for anything else."""
        name, *attributes = text.split(".")
        if not all(part.isidentifier() for part in (name, *attributes)):
            raise ValueError(f"{text!r} is not a parameter name with optional dotted attributes")
        return cls(name, tuple(attributes))

    def __str__(self) -> str:
        return ".".join((self.name, *self.attributes))

    def value(self, values: Mapping[str, object]) -> object:
        """Follow the attributes; None if any value on the way is None.

        Raises:
            KeyError: If the parameter or an item is missing.
            AttributeError: If an attribute is missing.
        """
        value = values[self.name]
        for attribute in self.attributes:
            if value is None:
                return None
            value = value[attribute] if isinstance(value, Mapping) else getattr(value, attribute)
        return value


@dataclass(frozen=True, slots=True)
class Template:
    """Literal texts with fields in between; ``len(literals) == len(fields) + 1``."""

    text: str
    literals: tuple[str, ...]
    fields: tuple[Field, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """Compile a template; raises ValueError if it is malformed."""
        literals, fields, pending = [], [], ""
        for literal, name, spec, conversion in Formatter().parse(text):
            pending += literal
            if name is None:
                continue
            if spec or conversion:
                raise ValueError(f"{{{name}}} takes no format or conversion")
            literals.append(pending)
            fields.append(Field.parse(name))
            pending = ""
        return cls(text, (*literals, pending), tuple(fields))

    @classmethod
    def literal(cls, text: str) -> Template:
        """A template without fields, in which braces are plain text."""
        return cls(text, (text,), ())

    @property
    def pattern(self) -> str:
        """The text without field names, since a write and a read may name them differently."""
        return "{}".join(self.literals)

    def render(
        self, values: Mapping[str, object], quote: Callable[[Field, str], str] | None = None
    ) -> str:
        """Fill in the values, quoted by ``quote``; raises KeyError or AttributeError."""
        if not self.fields:
            return self.literals[0]
        parts = [self.literals[0]]
        for field, literal in zip(self.fields, self.literals[1:]):  # noqa: B905  # equal by construction
            text = text_of(field.value(values))
            parts += (text if quote is None else quote(field, text), literal)
        return "".join(parts)


def text_of(value: object) -> str:
    """A value as text in a path or a group name; an enum member is represented by its value."""
    if isinstance(value, Enum):
        value = value.value
    return value.decode() if isinstance(value, bytes) else str(value)
