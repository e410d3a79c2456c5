"""What one application holds while it runs, and how a request finds it.

It is in the lifespan state under one name, so that mounted sub-applications find it too; if a
server or test client does not pass on that state, it is on ``app.state``. A test's override of
``get_async_redis`` or ``get_cache_backend`` replaces it for a request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Annotated, Any
from weakref import WeakKeyDictionary

from fastapi import Depends, FastAPI
from fastapi.dependencies.utils import get_dependant, solve_dependencies
from redis.asyncio import Redis
from starlette.requests import HTTPConnection, Request

from .._background import cancel
from .._engine.engine import Engine
from .._engine.local import LocalTier
from .._engine.no_engine import NoEngine
from .._redis.changes import Changes
from .._redis.compression import compressor
from .._redis.pool import close_client, open_client
from .._redis.shared_transport import shared_transport
from .._redis.store import Store
from .._redis.tracking import Tracking
from .._redis.transport import Transport
from .._routes.checks import check_routes
from .._routes.registry import Registry
from .._routes.targets import Sites
from .._serving.context import Context, OnceLog
from .._serving.observed import ObservedStore
from .._serving.refresh import Refreshes
from .._telemetry.counters import Counters
from .._telemetry.listening import telemetry_of
from .._telemetry.published import Publisher
from ..backend import CacheBackend, SyncCacheBackend
from ..exceptions import CacheDeclarationError, CacheSetupError
from ..settings import RedisSettings, get_settings
from ..telemetry import Telemetry
from .startup import check_process, check_server

STATE = "redis_fastapi"
"""Name in the lifespan state, and on ``app.state``."""

SETTINGS = f"{STATE}_settings"
"""Name on ``app.state`` of settings that were passed in code."""

logger = logging.getLogger("redis_fastapi")


class Runtime:
    """Client, engines and registry of one application.

    Without a client it only serves requests whose client is overridden by a test.
    """

    def __init__(self, app: FastAPI, settings: RedisSettings, client: Any = None) -> None:
        self.settings = settings
        self._counters = Counters() if settings.stats_interval and client is not None else None
        own = () if self._counters is None else (self._counters,)
        self._telemetry = telemetry_of(app, settings, *own)
        self._compress = compressor(settings.compression)
        self.client = client
        self._app = app
        self._once_log = OnceLog()
        self._changes = Changes()
        self._tracking: Tracking | None = None
        self._refreshes = Refreshes()
        self._engines: WeakKeyDictionary[object, Engine] = WeakKeyDictionary()
        self._sites: Sites | None = None
        self._checked: Registry | None = None
        self._warned: set[str] = set()
        self._own_context: Context | None = None
        self.checking: asyncio.Future[None] | None = None
        self._publishing: asyncio.Future[None] | None = None

    @property
    def sites(self) -> Sites:
        """Where resources are looked up."""
        if self._sites is None:
            self._sites = Sites(self._app, f"{self.settings.prefix}:cache")
        return self._sites

    def forget_routes(self) -> None:
        """Read the routes again on next use, since some were adopted."""
        self._sites = self._own_context = None

    def engine_on(self, client: Any) -> Engine:
        """The engine on a client; one per client, so that single flight works."""
        engine = self._engines.get(client)
        if engine is None:
            engine = self._engines[client] = self._new_engine(client)
        return engine

    def _new_engine(self, client: Any) -> Engine:
        settings, own = self.settings, client is self.client
        telemetry = self._telemetry
        new_store = Store if telemetry is None else partial(ObservedStore, telemetry=telemetry)
        store = new_store(
            client,
            prefix=settings.prefix,
            deadline=settings.deadline,
            wait_replicas=settings.wait_replicas,
            transport=self._transport() if own else None,
        )
        if not settings.enabled:
            return NoEngine(store)
        lease_ms = round(settings.lease_ttl * 1000)
        return Engine(
            store,
            local=self._local() if own else None,
            lease_ms=lease_ms,
            wait_max=settings.wait_max,
            compress=self._compress,
        )

    def _transport(self) -> Transport:
        """The cache's own connections, for a client that this runtime closes."""
        settings = self.settings
        return shared_transport(
            self.client,
            prefix=settings.prefix,
            name=settings.location,
            deadline=settings.deadline,
            read_from=self._tracking.read_from if self._tracking else None,
        )

    def _local(self) -> LocalTier:
        most, longest = self.settings.local_max_bytes, self.settings.local_max_ttl
        return LocalTier(self._changes, max_bytes=most, max_ttl=longest)

    def track(self) -> None:
        """Start to track changes in Redis, if entries are to be kept in the process."""
        settings = self.settings
        if not settings.enabled or not self._keeps_locally():
            return
        if settings.in_memory:
            logger.warning("memory:// is in this process already: nothing is kept beside it")
            return
        prefix, place = settings.prefix, settings.location
        self._tracking = Tracking(self.client, self._changes, prefix=prefix, name=place)
        self._tracking.start()

    @property
    def keeps(self) -> bool:
        """Whether entries may be kept in the process, once changes are tracked."""
        return self._tracking is not None

    def _keeps_locally(self) -> bool:
        wanted = any(read.local for _, read in self.sites.registry.reads)
        return self.settings.local_cache or wanted

    def begin(self) -> None:
        """Start background work; nothing waits for it.

        An application that a test serves from its own cache needs none.
        """
        settings = self.settings
        if not settings.enabled or _is_overridden(self._app):
            return
        if self._counters is not None:
            interval = settings.stats_interval
            publisher = Publisher(
                self.engine_on(self.client).execute, settings.prefix, self._counters, interval
            )
            self._publishing = asyncio.ensure_future(publisher.run())
        if settings.startup_checks:
            self._check_start_up()

    def _check_start_up(self) -> None:
        check_process(self.settings)
        if not self.settings.in_memory:
            engine = self.engine_on(self.client)
            checking = check_server(engine, self.settings, self.sites.registry)
            self.checking = asyncio.ensure_future(checking)

    async def close(self) -> None:
        """Stop background work, then close the client."""
        await cancel(*(task for task in (self.checking, self._publishing) if task is not None))
        await self._refreshes.close()
        if self._tracking is not None:
            await self._tracking.aclose()
        for engine in list(self._engines.values()):
            await engine.aclose()
        await close_client(self.client)

    def overridden(self, engine: Engine, telemetry: Telemetry | None = None) -> Context:
        """The context of requests on an engine from a test, with the test's listeners added."""
        listeners = self._telemetry if telemetry is None else telemetry.plus(self._telemetry)
        return self._context(engine, eager=True, telemetry=listeners)

    def _context(self, engine: Engine, *, eager: bool, telemetry: Telemetry | None) -> Context:
        shared = (self.settings, self.sites, self._once_log, self._refreshes)
        return Context(engine, *shared, eager, telemetry)

    @property
    def own_context(self) -> Context | None:
        """The context of requests on the runtime's own client; None while caching is off."""
        if self._own_context is None and self.settings.enabled:
            engine = self.engine_on(self.client)
            self._own_context = self._context(engine, eager=False, telemetry=self._telemetry)
        return self._own_context

    def check(self) -> None:
        """Check the whole application once per set of routes, and log each warning once.

        Raises:
            CacheDeclarationError: The first error; further ones are logged.
        """
        registry = self.sites.registry
        if registry is self._checked:
            return
        self._checked = registry
        checked = check_routes(registry, default_ttl=self.settings.default_ttl)
        errors, warnings = checked.errors, [*map(str, checked.findings), *checked.warnings]
        if self.settings.strict:
            errors += [*checked.found(), *map(_strict_error, checked.warnings)]
            warnings = []
        for message in warnings:
            if message not in self._warned:
                self._warned.add(message)
                logger.warning("%s", message)
        for error in errors[1:]:
            logger.error("%s", error)
        if errors:
            raise errors[0]


def _strict_error(warning: str) -> CacheDeclarationError:
    route, _, problem = warning.partition(": ")
    return CacheDeclarationError(
        code="redis-cache-strict",
        route=route,
        problem=problem,
        fix="what the message asks for, or leave REDIS_STRICT unset to get a warning only",
    )


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[Runtime]:
    """A runtime for the duration of a lifespan, each time with a client of its own.

    Raises:
        CacheSettingsError: If a setting is invalid.
        CacheDeclarationError: If the routes contradict each other.
    """
    settings = settings_of(app)
    client = open_client(settings)
    runtime = Runtime(app, settings, client)
    outer = getattr(app.state, STATE, None)
    try:
        runtime.check()
        runtime.track()
        setattr(app.state, STATE, runtime)
        yield runtime
    finally:
        if getattr(app.state, STATE, None) is runtime:
            setattr(app.state, STATE, outer)
        await runtime.close()


def settings_of(app: FastAPI) -> RedisSettings:
    """The settings that an application starts with."""
    return getattr(app.state, SETTINGS, None) or get_settings()


def runtime_of(request: HTTPConnection) -> Runtime | None:
    """The runtime that serves a request, or None if no lifespan started one."""
    found = _runtime_in(request.scope)
    return found if found is not None else getattr(request.app.state, STATE, None)


def _runtime_in(scope: Mapping[str, Any]) -> Runtime | None:
    """The runtime in the lifespan state, which the server passes on with each request."""
    state = scope.get("state")
    runtime: Runtime | None = state.get(STATE) if state else None
    return runtime


def _runtime_for_override(request: HTTPConnection) -> Runtime:
    """The runtime, or one without a client if a test does not run the lifespan."""
    runtime = runtime_of(request)
    if runtime is None:
        runtime = Runtime(request.app, settings_of(request.app))
        setattr(request.app.state, STATE, runtime)
    return runtime


async def get_async_redis(request: HTTPConnection) -> Redis:
    """The application's asyncio client; override it in tests.

    On a cluster it is a ``RedisCluster``, which has the same commands.

    Raises:
        CacheSetupError: If no lifespan opened a client.
    """
    runtime = runtime_of(request)
    if runtime is None or runtime.client is None:
        raise CacheSetupError(
            "no Redis client is open for this application. Add FastAPIRedis(app).lifespan(), "
            "and in tests enter the lifespan (`with TestClient(app)`) or override get_async_redis"
        )
    client: Redis = runtime.client
    return client


AsyncRedisDep = Annotated[Redis, Depends(get_async_redis)]
"""The application's Redis client, closed at shutdown."""


async def get_cache_backend(request: HTTPConnection, client: AsyncRedisDep) -> CacheBackend:
    """A cache backend on the engine that serves the endpoints; override it in tests."""
    runtime = _runtime_for_override(request)
    return CacheBackend.on(runtime.engine_on(client), runtime.settings)


CacheBackendDep = Annotated[CacheBackend, Depends(get_cache_backend)]
"""The cache backend, for ``async def`` endpoints."""


async def get_sync_cache_backend(backend: CacheBackendDep) -> SyncCacheBackend:
    """The cache backend, for code in worker threads."""
    return SyncCacheBackend(backend)


SyncCacheBackendDep = Annotated[SyncCacheBackend, Depends(get_sync_cache_backend)]
"""The cache backend, for ``def`` endpoints."""


def context_of(request: Request) -> Context | None:
    """What a request needs of the cache, or None where there is none: off, or not set up."""
    runtime = runtime_of(request)
    if runtime is None or runtime.client is None:
        _warn_not_set_up(request.app)
        return None
    return runtime.own_context


def context_in(scope: Mapping[str, Any]) -> Context | None:
    """Like ``context_of``, for a request that may not reach its route; logs nothing."""
    runtime = _runtime_in(scope)
    return None if runtime is None or runtime.client is None else runtime.own_context


async def overridden_context(request: Request, stack: AsyncExitStack) -> Context | None:
    """Like ``context_of``, for an application with dependency overrides."""
    overrides = request.app.dependency_overrides
    if not _is_overridden(request.app):
        return context_of(request)
    runtime = _runtime_for_override(request)
    if not runtime.settings.enabled:
        return None
    if get_cache_backend in overrides:
        backend = await _solved(request, get_cache_backend, stack)
        if not backend.enabled:
            return None
        return runtime.overridden(backend.engine, backend.telemetry)
    client = await _solved(request, get_async_redis, stack)
    return runtime.overridden(runtime.engine_on(client))


def _is_overridden(app: FastAPI) -> bool:
    overrides = app.dependency_overrides
    return get_cache_backend in overrides or get_async_redis in overrides


def _warn_not_set_up(app: FastAPI) -> None:
    if not getattr(app.state, _WARNED, False):
        setattr(app.state, _WARNED, True)
        logger.warning(
            "nothing is cached: no Redis client is open. Add FastAPIRedis(app).lifespan()"
        )


_WARNED = f"{STATE}_not_set_up"


async def _solved(request: Request, dependency: Callable[..., Any], stack: AsyncExitStack) -> Any:
    """The value of an overridden dependency, by FastAPI's own rules."""

    def wanted(value: Any) -> None: ...

    # set by hand: as text it could not name the dependency
    wanted.__annotations__ = {"value": Annotated[Any, Depends(dependency)]}
    solved = await solve_dependencies(
        request=request,
        dependant=get_dependant(path="/", call=wanted),
        dependency_overrides_provider=request.scope["app"],
        async_exit_stack=stack,
        embed_body_fields=False,
    )
    if solved.errors:
        name = getattr(dependency, "__name__", repr(dependency))
        raise CacheSetupError(f"the override of {name} cannot be resolved: {solved.errors}")
    return solved.values["value"]
