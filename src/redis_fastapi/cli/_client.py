"""A client of an application in this process, whose lifespan runs as on a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

Headers = tuple[tuple[str, str], ...]

_BASE_URL = "http://localhost"


@asynccontextmanager
async def client_of(app: FastAPI, **extra: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, whose lifespan runs; ``extra`` goes into each scope."""
    async with app.router.lifespan_context(app) as state:
        served = _with_scope(app, {"state": state or {}, **extra})
        transport = httpx.ASGITransport(served, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=_BASE_URL) as client:
            yield client


def _with_scope(app: ASGIApp, extra: Mapping[str, Any]) -> ASGIApp:
    async def serve_with_scope(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, **extra, "state": dict(extra["state"])}, receive, send)

    return serve_with_scope


def path_in(url: str) -> str:
    """The path of an address as a server sees it: unquoted, without query."""
    return unquote(urlsplit(url).path)
