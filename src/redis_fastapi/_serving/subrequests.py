"""Requests that the cache itself sends through an application, modelled on one from a client.

They have that request's path, headers and body, without conditions and directives, and nothing of
what routing, dependencies or the server put into its scope.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.routing import BaseRoute, Match
from starlette.types import Message, Scope

from .._http import Headers, lower_names

FRESH_ONLY = "redis_fastapi_fresh_only"
"""Key in the scope of a request that must not be served a stale response."""

_ROUTED = ("app", "endpoint", "extensions", "route", "router")
_ROUTED_PREFIXES = ("fastapi", "redis_fastapi", "starlette.")
"""What routing and servers put into a scope for one request."""

_CONDITIONS = frozenset(
    {
        b"cache-control",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"pragma",
        b"range",
    }
)
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


def subrequest_scope(scope: Scope, body: bytes) -> Scope:
    """The scope of a GET modelled on a request that the application received."""
    copied = {name: value for name, value in scope.items() if not _is_routed(name)}
    dropped = _CONDITIONS if body else _CONDITIONS | _FRAMING
    headers = [pair for pair in scope["headers"] if pair[0] not in dropped]
    copied |= {"app": scope["app"], "method": "GET", "headers": headers}
    copied["root_path"] = _root_path(scope)
    for name in ("path_params", "state"):
        if name in copied:
            copied[name] = dict(copied[name])
    return copied


def _is_routed(name: str) -> bool:
    return name in _ROUTED or name.startswith(_ROUTED_PREFIXES)


def _root_path(scope: Scope) -> str:
    """The ``root_path`` with which the application itself was called.

    A mounted router that is not an application may have changed it since.
    """
    routes: list[BaseRoute] = scope["app"].router.routes
    for root in _roots(scope):
        called: dict[str, Any] = {**scope, "root_path": root}
        if any(route.matches(called)[0] is Match.FULL for route in routes):
            return root
    return str(scope.get("root_path", ""))


def _roots(scope: Mapping[str, Any]) -> Iterator[str]:
    """The current ``root_path``, then its prefixes, down to that of the server."""
    root = str(scope.get("root_path", ""))
    outermost = str(scope.get("app_root_path", root))
    yield root
    while len(root) > len(outermost):
        root = root.rpartition("/")[0]
        yield root


async def send_subrequest(scope: Scope, body: bytes) -> tuple[int, Headers]:
    """Send a request through its application; returns status code and headers of the response.

    The body of the response is dropped. Raises what the application raises.
    """
    head: Message = {"status": 0, "headers": []}
    requests = iter([{"type": "http.request", "body": body, "more_body": False}])
    ended = asyncio.Event()

    async def receive() -> Message:
        if (request := next(requests, None)) is not None:
            return request
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            head.update(message)
        elif not message.get("more_body", False):
            ended.set()

    await scope["app"](scope, receive, send)
    return head["status"], lower_names(head["headers"])
