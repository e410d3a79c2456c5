"""Resources: the canonical path that names what a client requests.

``GET /products/01`` and ``DELETE /products/1`` mean the same product if the GET declares an
``int``, so a resource is the GET's path template filled in with *validated* values, never the raw
path. Values are quoted as in a URL; only a ``{name:path}`` parameter keeps its slashes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from .templates import Field, Template


@dataclass(frozen=True, slots=True)
class PathParameter:
    """One ``{name}`` in a route's path, and the validator that turns its text into the value."""

    name: str
    parse: Callable[[object], object]


@dataclass(frozen=True, slots=True)
class ResourceTemplate:
    """A path template compiled once.

    Attributes:
        template: Literals and fields, the literals quoted.
        slashes: Names of fields that may contain slashes.
    """

    template: Template
    slashes: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, path: str, slashes: frozenset[str] = frozenset()) -> ResourceTemplate:
        """Compile a path template; raises ValueError if it is malformed."""
        parsed = Template.parse(_CONVERTOR.sub(r"{\1}", path))
        slashes |= {name for name, kind in _CONVERTOR.findall(path) if kind == "path"}
        literals = tuple(_quote_path(unquote(text)) for text in parsed.literals)
        return cls(Template(path, literals, parsed.fields), slashes)

    @property
    def pattern(self) -> str:
        """The template without field names: routes with the same pattern serve the same paths."""
        return self.template.pattern

    def render(self, values: Mapping[str, object]) -> str:
        """The resource for these values; raises KeyError or AttributeError if one is missing."""
        return self.template.render(values, self._quoted)

    def spell(self, values: Mapping[str, object]) -> str:
        """The unquoted path for these values, as a server sees it."""
        return unquote(self.template.render(values, lambda _, text: quote(text)))

    def _quoted(self, field: Field, text: str) -> str:
        if text.isascii() and text.isalnum():  # the usual case; quoting costs as much as a digest
            return text
        return _quote_path(text) if field.name in self.slashes else quote(text, safe="~")


_CONVERTOR = re.compile(r"{(\w+):(\w+)}")


def _quote_path(text: str) -> str:
    return quote(text, safe="/~!$&'()*+,;=:@")


def mount_of(scope: Mapping[str, Any]) -> str:
    """The quoted path at which the application is mounted, without a proxy's ``root_path``."""
    return quoted_mount(mount_text(scope))


def mount_text(scope: Mapping[str, Any]) -> str:
    """That path, unquoted."""
    root = str(scope.get("root_path", ""))
    if not root:
        return ""
    outer = str(scope.get("app_root_path", root))
    return root[len(outer) :] if root.startswith(outer) else root


def quoted_mount(text: str) -> str:
    """Such a path, quoted as in a resource."""
    return _quote_path(text) if text else ""


def path_of(scope: Mapping[str, Any]) -> str:
    """The unquoted path of a request, relative to the outermost application."""
    path = str(scope["path"])
    outer = str(scope.get("app_root_path", scope.get("root_path", "")))
    return path[len(outer) :] if outer and path.startswith(outer + "/") else path


def path_resource(path: str, prefix: str = "") -> str:
    """The resource of a quoted path, preceded by the prefix if there is one."""
    return path if not prefix else f"{len(prefix)}:{prefix}{path}"


def named_resource(name: str, prefix: str = "") -> str:
    """The resource that a key builder has named; unlike any path, it begins with ``=``."""
    return f"={len(prefix)}:{prefix}{name}"
