"""Fluent set-up: ``FastAPIRedis(app).lifespan().caching()``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import ASGIApp

from ._app.runtime import SETTINGS, STATE, running, settings_of
from ._setup.adopt import adopt_routes, cache_route_class, guards_of, renew_guarded
from ._setup.fast_path import fast_path
from ._setup.openapi import describe_openapi
from ._telemetry.listening import enable_otel, listen
from .settings import RedisSettings
from .telemetry import Listener

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

_DONE = "redis_fastapi_setup"
"""Attribute of an application with the steps already taken; its ``state`` may be another's, too."""


class FastAPIRedis:
    """Give an application a Redis client and caching.

    Every method returns the builder, and calling one twice has no further effect.

    Args:
        app: The application.
        settings: Location of Redis and behaviour of the cache, for ``redis_lifespan`` as well; the
            first ones given to an application count. None reads ``REDIS_*`` at start-up.
    """

    def __init__(self, app: FastAPI, settings: RedisSettings | None = None) -> None:
        self._app = app
        if settings is not None and not hasattr(app.state, SETTINGS):
            setattr(app.state, SETTINGS, settings)

    def lifespan(self) -> FastAPIRedis:
        """Open a client at start-up and close it at shutdown, around the app's own lifespan."""
        if self._is_first_call("lifespan"):
            router = self._app.router
            router.lifespan_context = _around(router.lifespan_context)
            _describe(self._app)
        return self

    def caching(self) -> FastAPIRedis:
        """Honour cache declarations on ``@app.get`` and similar, and on routes of plain routers.

        Markers on ``@app.get`` are read on endpoints declared after this call, dependencies
        everywhere.
        """
        if self._is_first_call("caching"):
            router = self._app.router
            router.route_class = cache_route_class(router.route_class)
            adopt_routes(router)
            self._app.add_middleware(_AdoptLate, served=self._app)
            # the last is the innermost
            self._app.user_middleware.append(Middleware(fast_path, served=self._app))
        return self

    def listen(self, listener: Listener) -> FastAPIRedis:
        """Send events of ``redis_fastapi.telemetry`` to a function, from the next start-up on."""
        listen(self._app, listener)
        return self

    def otel(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> FastAPIRedis:
        """Emit OpenTelemetry spans and metrics, from the next start-up on (extra ``otel``).

        Args:
            tracer_provider: None means the global one.
            meter_provider: None means the global one.
        """
        providers = {"tracer_provider": tracer_provider, "meter_provider": meter_provider}
        enable_otel(self._app, **providers)
        return self

    def _is_first_call(self, step: str) -> bool:
        """Whether a method is called for the first time."""
        done: set[str] = getattr(self._app, _DONE, set())
        setattr(self._app, _DONE, done | {step})
        return step not in done


class _AdoptLate:
    """Adopts routes made after ``caching()``, when the first request builds the middleware stack.

    Its constructor returns the inner application, so no request passes through it.
    """

    # Starlette uses whatever the call returns
    def __new__(cls, app: ASGIApp, served: FastAPI) -> ASGIApp:  # type: ignore[misc]
        adopt_routes(served.router)
        runtime = getattr(served.state, STATE, None)
        if runtime is not None:
            runtime.forget_routes()
        return app


def _around(inner: Any) -> Any:
    """A lifespan that enters ours before ``inner`` and passes on the state of both."""

    @asynccontextmanager
    async def lifespan_with_redis(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        _prepare(app)
        guards = guards_of(app.router)
        async with running(app) as runtime, inner(app) as state:
            # pagination libraries add dependencies when the application starts
            renewed = renew_guarded(app.router, guards)
            if _prepare(app) or renewed or runtime.sites.has_other_policies:
                runtime.forget_routes()
            # the application's own lifespan may have added routes
            runtime.check()
            runtime.begin()
            yield {**(state or {}), STATE: runtime}

    return lifespan_with_redis


@asynccontextmanager
async def redis_lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
    """A lifespan that opens the Redis client: ``FastAPI(lifespan=redis_lifespan)``."""
    _prepare(app)
    async with running(app) as runtime:
        runtime.begin()
        yield {STATE: runtime}


def _prepare(app: FastAPI) -> bool:
    """Do what requires all routes to exist; returns whether routes were adopted."""
    adopted = adopt_routes(app.router)
    _describe(app)
    return adopted


def _describe(app: FastAPI) -> None:
    describe_openapi(app, partial(settings_of, app))
