"""Adds cache declarations to an OpenAPI document.

Nothing that the document already contains is replaced, and no model's schema is changed. Describing
a document twice gives the same result as once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from fastapi import FastAPI
from starlette.routing import compile_path

from .._policy.policy import ReadPolicy, WritePolicy
from .._routes.describe import evicted_names, selected_by, written_path
from .._routes.registry import Served, applications, served_by
from ..settings import RedisSettings

Document = dict[str, Any]

_PREFIX: Final = "RedisCache."
"""First part of the names of added components, so that they differ from the application's."""


def _header(description: str, **schema: Any) -> Document:
    return {"description": description, "schema": {"type": "string", **schema}}


_HEADERS: Final = {
    "ETag": _header("Digest of the body. A request with it in If-None-Match gets a 304."),
    "Cache-Control": _header("How long, and by whom, the response may be reused (RFC 9111)."),
    "Age": {
        "description": "Seconds since the response was generated; only if it is from the cache.",
        "schema": {"type": "integer", "minimum": 0},
    },
    "Vary": _header("Request header fields that select the response."),
    "X-Redis-Cache": _header(
        "How the cache was used; absent if the request had no-store.",
        enum=["HIT", "MISS", "STALE", "BYPASS"],
    ),
    "Cache-Status": _header("How each cache on the way handled the request (RFC 9211)."),
}

_PARAMETERS: Final = {
    "If-None-Match": "ETags that the client has; if one is current, the response is a 304.",
    "If-Match": "ETags of what the client wants to change; if none is current, it gets a 412.",
    "Cache-Control": "Directives for the cache, such as no-cache or max-age=0.",
}

_NOT_MODIFIED: Final = "The client's copy is current"
_FAILED: Final = "A precondition of the request failed"
_NOT_CACHED: Final = "The request had only-if-cached, and no usable response was cached"
_UNCONFIRMED: Final = "Done, but Redis did not confirm that older responses are evicted"


def describe_openapi(app: FastAPI, settings: Callable[[], RedisSettings]) -> None:
    """Add caching to the OpenAPI documents of an application and of those mounted in it.

    Args:
        app: The application.
        settings: Returns its settings; called when a document is generated.
    """
    for one in applications(app):
        if not isinstance(one.openapi, _Describing):
            # FastAPI offers no other hook for it
            one.openapi = _Describing(one, settings)  # type: ignore[method-assign]


class _Describing:
    """Replaces ``app.openapi``: generates the original document and adds caching."""

    def __init__(self, app: FastAPI, settings: Callable[[], RedisSettings]) -> None:
        self._app = app
        self._inner = app.openapi
        self._settings = settings
        self._seen: Document | None = None
        self._described: Document = {}

    def __call__(self) -> Document:
        document = self._inner()
        settings = self._settings()
        if not (settings.openapi and settings.enabled):
            return document
        # FastAPI returns the same document until routes are added
        if document is not self._seen:
            served = served_by(self._app.routes)
            self._described = described(document, served, settings)
            self._seen = document
        return self._described


def described(document: Document, served: Iterable[Served], settings: RedisSettings) -> Document:
    """A copy of a document in which operations describe how they use the cache."""
    document = copy.deepcopy(document)
    components: dict[str, Document] = {}
    for one in served:
        for method, operation in _operations(document, one):
            _describe(operation, method, one, settings, components)
    for kind, named in components.items():
        document.setdefault("components", {}).setdefault(kind, {}).update(named)
    return document


def _operations(document: Document, served: Served) -> Iterator[tuple[str, Document]]:
    # a mounted application has its own document
    if served.policy is None or served.mount:
        return
    _, path, _ = compile_path(served.path)
    item = document.get("paths", {}).get(path, {})
    for method in served.methods:
        if (operation := item.get(method.lower())) is not None:
            yield method, operation


def _describe(
    operation: Document,
    method: str,
    served: Served,
    settings: RedisSettings,
    components: dict[str, Document],
) -> None:
    terms: Document = {}
    if (read := served.read) is not None and method == "GET":
        terms |= _read_terms(read, settings)
        _describe_read(operation, read, settings, components)
    if (write := served.write) is not None:
        terms |= _write_terms(write, served)
        _describe_write(operation, write, components)
    if terms:
        operation.setdefault("x-cache", terms)


def _read_terms(read: ReadPolicy, settings: RedisSettings) -> Document:
    ttl = settings.default_ttl if read.ttl is None else read.ttl
    stale = read.staleness
    windows = {"stale_while_revalidate": stale.revalidate_ms, "stale_if_error": stale.error_ms}
    return {
        "ttl": ttl or None,
        "groups": [group.text for group in read.groups],
        "vary": list(selected_by(read.selectors)),
        **{name: milliseconds // 1000 for name, milliseconds in windows.items() if milliseconds},
    }


def _write_terms(write: WritePolicy, served: Served) -> Document:
    terms: Document = {"evicts": list(evicted_names(write, served))}
    if write.put is not None:
        terms["writes"] = written_path(write.put, served)
    return terms


def _describe_read(
    operation: Document,
    read: ReadPolicy,
    settings: RedisSettings,
    components: dict[str, Document],
) -> None:
    responses = _responses(operation)
    for status in (read.status, *read.statuses):
        if stored := responses.get(str(status)):
            _add_headers(stored, _headers_of(read), components)
    if read.uncacheable is not None:
        return
    unchanged = responses.setdefault("304", {"description": _NOT_MODIFIED})
    _add_headers(unchanged, _headers_of(read), components)
    responses.setdefault("412", {"description": _FAILED})
    _add_parameter(operation, "If-None-Match", components)
    if settings.obey_client_directives:
        responses.setdefault("504", {"description": _NOT_CACHED})
        _add_parameter(operation, "Cache-Control", components)


def _describe_write(
    operation: Document, write: WritePolicy, components: dict[str, Document]
) -> None:
    if write.strict:
        _responses(operation).setdefault("503", {"description": _UNCONFIRMED})
    if write.preconditions:
        _responses(operation).setdefault("412", {"description": _FAILED})
        _add_parameter(operation, "If-Match", components)


def _headers_of(read: ReadPolicy) -> Iterator[str]:
    if read.uncacheable is None:
        yield from ("ETag", "Cache-Control", "Age")
    if read.vary:
        yield "Vary"
    yield from ("X-Redis-Cache", "Cache-Status")


def _responses(operation: Document) -> Document:
    responses: Document = operation.setdefault("responses", {})
    return responses


def _add_headers(response: Document, names: Iterable[str], components: dict[str, Document]) -> None:
    if "$ref" in response:
        return
    headers = response.setdefault("headers", {})
    known = {name.lower() for name in headers}
    for name in names:
        if name.lower() not in known:
            components.setdefault("headers", {})[_PREFIX + name] = _HEADERS[name]
            headers[name] = {"$ref": f"#/components/headers/{_PREFIX}{name}"}


def _add_parameter(operation: Document, name: str, components: dict[str, Document]) -> None:
    parameters: list[Document] = operation.setdefault("parameters", [])
    reference = {"$ref": f"#/components/parameters/{_PREFIX}{name}"}
    declared = any(
        one == reference or (one.get("in") == "header" and one["name"].lower() == name.lower())
        for one in parameters
    )
    if declared:
        return
    components.setdefault("parameters", {})[_PREFIX + name] = {
        "name": name,
        "in": "header",
        "required": False,
        "description": _PARAMETERS[name],
        "schema": {"type": "string"},
    }
    parameters.append(reference)
