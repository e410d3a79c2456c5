"""The listeners of an application: the ones it adds, OpenTelemetry, and its own counters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

from fastapi import FastAPI

from ..exceptions import CacheSetupError
from ..settings import RedisSettings
from ..telemetry import Listener, Telemetry

_STATE: Final = "redis_fastapi_listeners"
"""Name on ``app.state``."""


@dataclass(slots=True)
class _Requested:
    """The listeners that an application has requested.

    Attributes:
        listeners: Its own, in the order named.
        otel: Arguments of the OpenTelemetry listener, or None if there is none.
    """

    listeners: list[Listener] = field(default_factory=list)
    otel: dict[str, Any] | None = None


def _requested_by(app: FastAPI) -> _Requested:
    requested: _Requested | None = getattr(app.state, _STATE, None)
    if requested is None:
        requested = _Requested()
        setattr(app.state, _STATE, requested)
    return requested


def listen(app: FastAPI, listener: Listener) -> None:
    """Add a listener to the application, from its next start-up on."""
    listeners = _requested_by(app).listeners
    if not any(known is listener for known in listeners):
        listeners.append(listener)


def enable_otel(app: FastAPI, **providers: Any) -> None:
    """Add OpenTelemetry to the application, from its next start-up on."""
    requested = _requested_by(app)
    if requested.otel is None:
        requested.otel = providers


def telemetry_of(app: FastAPI, settings: RedisSettings, *own: Listener) -> Telemetry | None:
    """All listeners including ``own``; None if there are none.

    Raises:
        CacheSetupError: OpenTelemetry is requested and not installed.
    """
    listeners = (*own, *_asked_for(_requested_by(app), settings))
    return Telemetry(listeners) if listeners else None


def _asked_for(requested: _Requested, settings: RedisSettings) -> Iterator[Listener]:
    yield from requested.listeners
    if requested.otel is not None or settings.otel_enabled:
        yield _open_telemetry(settings, requested.otel or {})


def _open_telemetry(settings: RedisSettings, providers: dict[str, Any]) -> Listener:
    # imported only here, so that it costs nothing unless it is requested
    try:
        module = import_module("redis_fastapi._telemetry.otel")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "opentelemetry":
            raise
        raise CacheSetupError(
            "telemetry needs opentelemetry-api: pip install 'fastapi-redis-annotated[otel]'"
        ) from None
    listener: Listener = module.OpenTelemetry(settings, **providers)
    return listener
