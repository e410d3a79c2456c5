"""What the cache would do with one request, determined by sending it as far as the endpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path

from .. import _http
from .._app.runtime import runtime_of, settings_of
from .._policy.policy import Policy, ReadPolicy, Values
from .._redis.keys import Keyspace, Target
from .._redis.store import Store
from .._routes.registry import Registry, Served
from .._routes.targets import read_target
from .._serving.context import Context
from .._serving.passage import EXPLAIN
from ..exceptions import CacheUnavailableError
from ._client import Headers, client_of, path_in
from ._inventory import DEADLINE_SECONDS
from ._load import registry_of
from ._reports import RouteReport, report_of
from ._standing import EntryReport, Standing, entry_report


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the cache would do with one request.

    Attributes:
        request: Method and address.
        route: The route that serves it, or None.
        status: Status code if the application responded before the endpoint, or None.
        key: The entry's key in Redis, or None.
        groups: The groups that the entry is in, filled in.
        not_stored: Why no response to it is stored; empty if one may be.
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
    """Explain a request; its dependencies run, since they determine the key, but no endpoint."""
    method = method.upper()
    blank = Explanation(f"{method} {url}")
    registry = registry_of(app)
    served = serving(registry, method, path_in(url))
    if served is None:
        return replace(blank, not_stored=("no route serves it",))
    if served.read is None:
        return replace(blank, not_stored=("its route declares no Cached",))
    known = replace(
        blank, route=report_of(served, registry, default_ttl=settings_of(app).default_ttl)
    )
    if method != "GET":
        return replace(known, not_stored=("only GET is served from the cache",))
    explainer = _Explainer(known)
    async with client_of(app, **{EXPLAIN: explainer}) as client:
        response = await client.request(method, url, headers=list(headers))
    if explainer.explanation is not None:
        return explainer.explanation
    reason = "a dependency, the validation or a middleware responded before the endpoint"
    return replace(known, status=response.status_code, not_stored=(reason,))


def serving(registry: Registry, method: str, path: str) -> Served | None:
    """The first route that serves a request."""
    for served in registry.served:
        regex, _, _ = compile_path(served.path)
        if method in served.methods and regex.match(path):
            return served
    return None


class _Explainer:
    """Stands in for a request's passage through the cache, and explains instead of the endpoint."""

    def __init__(self, known: Explanation) -> None:
        self._known = known
        self._policy: Policy | None = None
        self._context: Context | None = None
        self.explanation: Explanation | None = None

    def passage(self, policy: Policy, context: Context | None) -> _Explainer:
        """What the endpoint's wrapper calls in place of the cache."""
        self._policy, self._context = policy, context
        return self

    async def run(
        self, endpoint: object, values: Values, request: Request, injected: Response
    ) -> Response:
        """Explain what the cache would do for these values."""
        read = self._policy.read if self._policy is not None else None
        if read is not None:
            found = await _explained(self._known, read, self._context, request, values)
            self.explanation = found
        return Response(status_code=204)


async def _explained(
    known: Explanation, read: ReadPolicy, context: Context | None, request: Request, values: Values
) -> Explanation:
    refusals = tuple(_refusals(read, context, request))
    found = replace(known, not_stored=refusals, notes=tuple(_notes(read, context, request)))
    if context is None:
        return found
    try:
        target = await read_target(read, values, request, context.sites)
        groups = tuple(group.render(values) for group in read.groups)
    except Exception as error:  # the author's key builder or attribute may raise anything
        return replace(found, not_stored=(*refusals, f"it has no key: {error!r}"))
    entry = await _entry(target, groups, context, request)
    key = Keyspace(context.settings.prefix).entry(target.entry).decode()
    return replace(found, key=key, groups=groups, entry=entry)


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
            yield "the request says only-if-cached: without an entry the response is 504"


def _directives(request: Request) -> _http.RequestDirectives:
    return _http.request_directives(request.scope["headers"])


async def _entry(
    target: Target, groups: Iterable[str], context: Context, request: Request
) -> EntryReport:
    runtime = runtime_of(request)
    if runtime is None:
        return EntryReport(Standing.UNKNOWN)
    store = Store(runtime.client, prefix=context.settings.prefix, deadline=DEADLINE_SECONDS)
    try:
        snapshot = await store.read(target)
    except CacheUnavailableError:
        return EntryReport(Standing.UNKNOWN)
    return entry_report(target, snapshot, groups, now_ms=context.now_ms())
