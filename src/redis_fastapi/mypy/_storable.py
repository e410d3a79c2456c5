"""Return types that certainly cannot be stored, and models that certainly differ.

There are many ways to make pydantic support a class; only types that exclude all of them count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from mypy.nodes import MypyFile, TypeInfo
from mypy.types import Instance, NoneType, TupleType, Type, UnionType, get_proper_type

from ._sources import is_project_file

_STREAMS: Final = frozenset(
    f"typing.{name}" for name in ("AsyncGenerator", "AsyncIterable", "AsyncIterator")
)
_STREAMED: Final = ("starlette.responses.StreamingResponse", "starlette.responses.FileResponse")
_RESPONSE: Final = "starlette.responses.Response"
_HOOKS: Final = (
    "__get_pydantic_core_schema__",
    "__pydantic_core_schema__",
    "__get_validators__",
    "__pydantic_serializer__",
)
_TAGS: Final = ("dataclass", "dataclass_tag", "attrs", "attrs_tag")
_PLAIN: Final = frozenset(
    f"builtins.{name}" for name in ("bool", "bytes", "dict", "float", "int", "list", "str")
)
_MODEL: Final = "pydantic.main.BaseModel"
_DEPTH: Final = 6


def stream_in(returned: Type | None) -> str | None:
    """The name of a return type that is a stream, or None."""
    one = get_proper_type(returned)
    if not isinstance(one, Instance):
        return None
    streamed = any(one.type.has_base(base) for base in _STREAMED)
    return one.type.name if streamed or one.type.fullname in _STREAMS else None


def is_response(returned: Type | None) -> bool:
    """Whether a return type is a response."""
    one = get_proper_type(returned)
    return isinstance(one, Instance) and one.type.has_base(_RESPONSE)


def schemaless_in(returned: Type | None, modules: Mapping[str, MypyFile]) -> str | None:
    """The name of a project class in a return type for which pydantic has no schema, or None."""
    for one in _instances(returned):
        bases = [base for base in one.type.mro if base.fullname != "builtins.object"]
        if bases and all(_is_plain(base, modules) for base in bases):
            return one.type.name
    return None


def same_model(one: Type | None, other: Type | None) -> bool | None:
    """Whether two return types are the same model; None if that is uncertain."""
    first, second = _shape(one), _shape(other)
    return None if first is None or second is None else first == second


def _instances(returned: Type | None, depth: int = 0) -> Iterator[Instance]:
    """The classes that a type is composed of."""
    proper = get_proper_type(returned)
    inner: Iterable[Type] = ()
    if isinstance(proper, Instance):
        yield proper
        # a response is sent as it is, whatever its type arguments
        inner = () if proper.type.has_base(_RESPONSE) else proper.args
    elif isinstance(proper, (UnionType, TupleType)):
        inner = proper.items
    for one in inner if depth < _DEPTH else ():
        yield from _instances(one, depth + 1)


def _is_plain(info: TypeInfo, modules: Mapping[str, MypyFile]) -> bool:
    """Whether a project class has nothing by which pydantic could support it."""
    module = modules.get(info.module_name)
    # libraries may make pydantic support their classes in ways that stubs do not show
    if module is None or not is_project_file(module.path):
        return False
    special = info.fallback_to_any or info.is_protocol or info.is_enum or info.is_newtype
    shaped = info.is_named_tuple or info.typeddict_type or info.metaclass_type
    tagged = any(tag in info.metadata for tag in _TAGS)
    hooked = any(name in info.names for name in _HOOKS)
    return not (special or shaped or tagged or hooked or info.defn.decorators)


def _shape(given: Type | None, depth: int = 0) -> object:
    """A type as plain data; pydantic's schemas are equal only if the shapes are."""
    proper = get_proper_type(given)
    if isinstance(proper, NoneType):
        return "None"
    if isinstance(proper, UnionType):
        items = [_shape(item, depth + 1) for item in proper.items]
        return None if None in items else ("|", *sorted(map(repr, items)))
    if not isinstance(proper, Instance) or depth > _DEPTH:
        return None
    if proper.type.has_base(_MODEL) and not proper.args:
        return proper.type.name
    if proper.type.fullname not in _PLAIN:
        return None
    arguments = [_shape(one, depth + 1) for one in proper.args]
    return None if None in arguments else (proper.type.name, *arguments)
