"""OpenTelemetry spans and metrics, made from the cache's events.

Needs opentelemetry-api, the extra ``otel``, and is imported only on request. Names and
attributes follow the semantic conventions; what these have no name for begins with
``redis_fastapi.``. A span is created when what it describes has ended, and its parent is the span
that is current then: the server's span of the request.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from opentelemetry.metrics import Histogram, Meter, MeterProvider, get_meter
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider, get_tracer

from ..settings import RedisSettings
from ..telemetry import Answered, Event, Evicted, Exchanged

_NAME = "redis_fastapi"
_DISTRIBUTION = "fastapi-redis-annotated"
_NS = 1_000_000_000

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
"""Bucket bounds for durations: a lookup is shorter than a request."""

_BYTES = (256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216)

_Attributes = dict[str, Any]


class OpenTelemetry:
    """A listener that emits spans and metrics.

    Args:
        settings: Say where Redis is.
        tracer_provider: None is the global one.
        meter_provider: None is the global one.
    """

    def __init__(
        self,
        settings: RedisSettings,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self._server = _server_attributes(settings)
        self._tracer = get_tracer(_NAME, _version(), tracer_provider)
        meter = get_meter(_NAME, _version(), meter_provider)
        count = meter.create_counter
        seconds = partial(_histogram, meter, "s", _SECONDS)
        size = partial(_histogram, meter, "By", _BYTES)
        self._requests = count("redis_fastapi.requests", "{request}", "GETs of cached endpoints")
        self._lookups = seconds(
            "redis_fastapi.lookup.duration", "Time until the cache had a result"
        )
        self._waits = seconds("redis_fastapi.wait.duration", "Lookups that waited for another run")
        self._bodies = size("redis_fastapi.response.body.size", "Bodies of responses to GETs")
        self._evictions = count("redis_fastapi.evictions", "{eviction}", "Evictions by writes")
        self._operations = seconds("db.client.operation.duration", "Operations on Redis")
        self._entries = size("redis_fastapi.entry.size", "Entries read and stored")

    def __call__(self, event: Event, /) -> None:
        if isinstance(event, Answered):
            self._answered(event)
        elif isinstance(event, Evicted):
            self._evicted(event)
        else:
            self._exchanged(event)

    def _answered(self, event: Answered) -> None:
        attributes = _route_attributes(event.route)
        attributes["redis_fastapi.cache.state"] = (event.state or "none").lower()
        if event.reason is not None:
            attributes["redis_fastapi.cache.reason"] = event.reason
        if event.local:
            attributes["redis_fastapi.cache.tier"] = "local"
        self._requests.add(1, attributes)
        self._lookups.record(event.lookup_seconds, attributes)
        self._bodies.record(event.body_bytes, attributes)
        if event.waited:
            self._waits.record(event.lookup_seconds, attributes)
        size = {"redis_fastapi.response.body.size": event.body_bytes}
        self._span("cache lookup", event.started_ns, event.lookup_seconds, attributes | size)

    def _evicted(self, event: Evicted) -> None:
        attributes = _route_attributes(event.route)
        attributes["redis_fastapi.eviction.confirmed"] = event.confirmed
        self._evictions.add(1, attributes)
        names = {"redis_fastapi.eviction.names": event.names}
        self._span("cache evict", event.started_ns, event.seconds, attributes | names)

    def _exchanged(self, event: Exchanged) -> None:
        attributes = self._server | {"db.operation.name": event.operation}
        if event.error is not None:
            attributes["error.type"] = event.error
        self._operations.record(event.seconds, attributes)
        if event.entry_bytes:
            self._entries.record(event.entry_bytes, attributes)
        self._span(
            f"redis {event.operation}",
            event.started_ns,
            event.seconds,
            attributes,
            kind=SpanKind.CLIENT,
            error=event.error,
        )

    def _span(
        self,
        name: str,
        started_ns: int,
        seconds: float,
        attributes: _Attributes,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        error: str | None = None,
    ) -> None:
        span = self._tracer.start_span(
            name, kind=kind, attributes=attributes, start_time=started_ns
        )
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
        span.end(started_ns + round(seconds * _NS))


def _histogram(
    meter: Meter, unit: str, bounds: Sequence[float], name: str, description: str
) -> Histogram:
    return meter.create_histogram(
        name, unit, description, explicit_bucket_boundaries_advisory=bounds
    )


def _route_attributes(route: str) -> _Attributes:
    method, _, path = route.partition(" ")
    return {"http.request.method": method, "http.route": path}


def _server_attributes(settings: RedisSettings) -> _Attributes:
    attributes: _Attributes = {"db.system.name": "redis"}
    address = settings.address
    if address is not None:
        attributes["server.address"], attributes["server.port"] = address
    return attributes


def _version() -> str:
    try:
        return version(_DISTRIBUTION)
    except PackageNotFoundError:
        return ""
