"""What the command line does with a running cache: explain a request, evict, warm up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

import httpx
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from . import _http
from ._context import Context
from ._engine import Engine
from ._inspect import EntryReport, RouteReport, Standing, entry_report, report_of, serving
from ._inventory import Stats, stats_of
from ._keys import EPOCH, Target, group_name
from ._load import registry_of
from ._passage import EXPLAIN
from ._policy import Policy, ReadPolicy, Values
from ._pool import close_client, open_client
from ._registry import Registry
from ._resource import path_resource
from ._runtime import runtime_of, settings_of
from ._store import Store
from ._targets import Evicted, evicted_resources, read_target
from .exceptions import CacheUnavailableError
from .settings import RedisSettings

Headers = tuple[tuple[str, str], ...]

_DEADLINE_SECONDS = 2.0
"""How long one look at Redis may take; nobody's request waits for it."""

_BASE_URL = "http://localhost"


@asynccontextmanager
async def _client(app: FastAPI, **extra: Any) -> AsyncIterator[httpx.AsyncClient]:
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


# -- explain


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the cache has to do with one request.

    Attributes:
        request: Method and address.
        route: The route that serves it, or None.
        status: What the application answered where it did not come to the endpoint, or None.
        key: The entry's key in Redis, or None.
        groups: The groups that the entry is in, filled in.
        not_stored: Why no answer to it is stored; empty where one may be.
        notes: What else decides.
        entry: The entry as it stands, or None where there is no key.
    """

    request: str
    route: RouteReport | None = None
    status: int | None = None
    key: str | None = None
    groups: tuple[str, ...] = ()
    not_stored: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    entry: EntryReport | None = None


async def explain(app: FastAPI, method: str, url: str, headers: Headers) -> Explanation:
    """Explain a request: its dependencies run, since they choose the key, its endpoint does not."""
    method = method.upper()
    blank = Explanation(f"{method} {url}")
    registry = registry_of(app)
    served = serving(registry, method, path_in(url))
    if served is None:
        return replace(blank, not_stored=("no route serves it",))
    if served.policy is None or served.policy.read is None:
        return replace(blank, not_stored=("its route declares no Cached",))
    known = replace(
        blank, route=report_of(served, registry, default_ttl=settings_of(app).default_ttl)
    )
    if method != "GET":
        return replace(known, not_stored=("only GET is answered from the cache",))
    explainer = _Explainer(known)
    async with _client(app, **{EXPLAIN: explainer}) as client:
        response = await client.request(method, url, headers=list(headers))
    if explainer.explanation is not None:
        return explainer.explanation
    reason = "a dependency, the validation or a middleware answered before the endpoint"
    return replace(known, status=response.status_code, not_stored=(reason,))


def path_in(url: str) -> str:
    """The path of an address as a server sees it: unquoted, without query."""
    return unquote(urlsplit(url).path)


class _Explainer:
    """Takes the place of a request's passage through the cache, and of its endpoint."""

    def __init__(self, known: Explanation) -> None:
        self._known = known
        self.explanation: Explanation | None = None

    def passage(self, policy: Policy, context: Context | None) -> _Passage:
        """What the endpoint's wrapper asks in place of the cache."""
        return _Passage(self, policy, context)

    async def explain(
        self, read: ReadPolicy, context: Context | None, request: Request, values: Values
    ) -> None:
        """Say what the cache would do for these values."""
        refusals = list(_refusals(read, context, request))
        notes = tuple(_notes(read, context, request))
        self.explanation = replace(self._known, not_stored=tuple(refusals), notes=notes)
        if context is None:
            return
        try:
            target = await read_target(read, values, request, context.site)
            groups = tuple(group.render(values) for group in read.groups)
        except Exception as error:  # the author's key builder or attribute may raise anything
            refusals.append(f"it has no key: {error!r}")
            self.explanation = replace(self.explanation, not_stored=tuple(refusals))
            return
        entry = await _entry(target, groups, context, request)
        key = f"{context.settings.prefix}:e:{{{target.entry}}}"
        self.explanation = replace(self.explanation, key=key, groups=groups, entry=entry)


class _Passage:
    """One request's; has what the wrapper of an endpoint calls."""

    def __init__(self, explainer: _Explainer, policy: Policy, context: Context | None) -> None:
        self._explainer = explainer
        self._policy = policy
        self._context = context

    async def run(
        self, endpoint: object, values: Values, request: Request, injected: Response
    ) -> Response:
        """Explain instead of running the endpoint."""
        if self._policy.read is not None:
            await self._explainer.explain(self._policy.read, self._context, request, values)
        return Response(status_code=204)


def _refusals(read: ReadPolicy, context: Context | None, request: Request) -> Iterator[str]:
    if context is None:
        yield "caching is off (REDIS_ENABLED), or FastAPIRedis(app).lifespan() is missing"
    elif context.settings.obey_client_directives and _directives(request).no_store:
        yield "the request says no-store"
    if read.uncacheable is not None:
        yield read.uncacheable.value


def _notes(read: ReadPolicy, context: Context | None, request: Request) -> Iterator[str]:
    if read.when is not None:
        yield "stored only where when= says so"
    if context is not None and context.settings.obey_client_directives:
        if _directives(request).no_cache:
            yield "the request says no-cache: the endpoint runs, whatever is stored"
        if _directives(request).only_if_cached:
            yield "the request says only-if-cached: without an entry it is answered 504"


def _directives(request: Request) -> _http.RequestDirectives:
    return _http.request_directives(request.scope["headers"])


async def _entry(
    target: Target, groups: Iterable[str], context: Context, request: Request
) -> EntryReport:
    runtime = runtime_of(request)
    if runtime is None:
        return EntryReport(Standing.UNKNOWN)
    store = Store(runtime.client, prefix=context.settings.prefix, deadline=_DEADLINE_SECONDS)
    try:
        snapshot = await store.read(target)
    except CacheUnavailableError:
        return EntryReport(Standing.UNKNOWN)
    return entry_report(target, snapshot, groups, now_ms=context.now_ms())


# -- evict


def names_to_evict(
    registry: Registry | None, *, groups: Iterable[str], paths: Iterable[str], everything: bool
) -> Evicted:
    """Names of what goes; a path that nobody here reads is taken as it is."""
    if everything:
        return Evicted(generations=(EPOCH,))
    named = Evicted(generations=tuple(group_name(group) for group in groups))
    resources = [one for path in paths for one in _resources(registry, path_in(path))]
    return named.plus(evicted_resources(resources))


def _resources(registry: Registry | None, path: str) -> tuple[str, ...]:
    found = registry.resources_at(path) if registry else ()
    return found or (path_resource(path),)


async def evict(settings: RedisSettings, names: Evicted) -> bool:
    """Evict; True where Redis confirmed it."""
    client = open_client(settings)
    store = Store(client, prefix=settings.prefix, deadline=_DEADLINE_SECONDS)
    engine = Engine(store)
    try:
        return await engine.evict(names.entries, names.generations)
    finally:
        await engine.aclose()
        await close_client(client)


# -- stats


async def stats(settings: RedisSettings, *, most: int) -> Stats:
    """What lies in Redis, and what was counted; looks at ``most`` entries."""
    client = open_client(settings)
    try:
        return await stats_of(client, settings.prefix, most=most)
    finally:
        await close_client(client)


# -- warm


@dataclass(frozen=True, slots=True)
class Warmed:
    """One request of a warm-up.

    Attributes:
        url: As it was asked for.
        status: What was answered.
        state: ``X-Redis-Cache`` of the answer, or None.
    """

    url: str
    status: int
    state: str | None

    @property
    def failed(self) -> bool:
        """Whether nothing useful can be in the cache now."""
        return self.status >= 400


async def warm(
    app: FastAPI,
    urls: Iterable[str],
    headers: Headers,
    *,
    concurrency: int,
    tell: Callable[[Warmed], None],
) -> list[Warmed]:
    """Ask the application in this process for each address, ``concurrency`` at a time, in order."""
    turns = asyncio.Semaphore(concurrency)
    async with _client(app) as client:

        async def ask(url: str) -> Warmed:
            async with turns:
                response = await client.get(url, headers=list(headers))
            warmed = Warmed(url, response.status_code, response.headers.get("x-redis-cache"))
            tell(warmed)
            return warmed

        return list(await asyncio.gather(*(ask(url) for url in urls)))


def addresses(lines: Iterable[str]) -> list[str]:
    """The addresses of a file: one a line, empty lines and those that begin with ``#`` left out."""
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith("#")]
