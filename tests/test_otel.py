"""Spans and metrics of OpenTelemetry."""

import builtins
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import ASGIApp, Receive, Scope, Send

from apps import ITEM_READ, caching_app, memory_settings, serving, with_items
from redis_fastapi import CacheSetupError, FastAPIRedis, RedisSettings
from redis_fastapi._telemetry.listening import telemetry_of
from redis_fastapi.telemetry import Answered

ROUTE = ITEM_READ.removeprefix("GET ")


class Observed:
    """An SDK that keeps what it is given."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracing = TracerProvider()
        self.tracing.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.metering = MeterProvider([self._reader])

    def watch(self, app: FastAPI) -> None:
        """Listen to an application, with a server's span around each request."""
        FastAPIRedis(app).otel(tracer_provider=self.tracing, meter_provider=self.metering)
        app.add_middleware(_ServerSpan, provider=self.tracing)

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def points(self, name: str) -> list[Any]:
        """The data points of a metric."""
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]


class _ServerSpan:
    def __init__(self, app: ASGIApp, provider: TracerProvider) -> None:
        self._app = app
        self._tracer = provider.get_tracer("server")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._tracer.start_as_current_span("server", kind=SpanKind.SERVER):
            await self._app(scope, receive, send)


@pytest.fixture
def observed() -> Iterator[Observed]:
    observed = Observed()
    yield observed
    observed.tracing.shutdown()
    observed.metering.shutdown()


async def test_spans_stand_below_the_span_of_the_server(observed: Observed) -> None:
    app = with_items(caching_app())
    observed.watch(app)
    async with serving(app) as http:
        await http.get("/items/1")
        await http.get("/items/1")
        await http.delete("/items/1")

    servers = [span.context.span_id for span in observed.spans("server") if span.context]
    for name in ("cache lookup", "cache evict", "redis read", "redis fill"):
        spans = observed.spans(name)
        assert spans, name
        assert all(span.parent and span.parent.span_id in servers for span in spans), name
        assert all(span.start_time and span.end_time for span in spans)
        assert all((span.start_time or 0) <= (span.end_time or 0) for span in spans)


async def test_a_span_follows_the_semantic_conventions(observed: Observed) -> None:
    app = with_items(caching_app())
    observed.watch(app)
    async with serving(app) as http:
        await http.get("/items/1")
        await http.get("/items/1")

    miss, hit = (dict(span.attributes or {}) for span in observed.spans("cache lookup"))
    assert (miss["http.route"], miss["http.request.method"]) == (ROUTE, "GET")
    assert miss["redis_fastapi.cache.state"] == "miss"
    assert hit["redis_fastapi.cache.state"] == "hit"
    (fill,) = observed.spans("redis fill")
    assert fill.kind is SpanKind.CLIENT
    assert fill.attributes is not None
    assert fill.attributes["db.system.name"] == "redis"
    assert fill.attributes["db.operation.name"] == "fill"


async def test_metrics_count_requests_durations_and_bytes(observed: Observed) -> None:
    app = with_items(caching_app())
    observed.watch(app)
    async with serving(app) as http:
        for _ in range(3):
            await http.get("/items/1")
        await http.delete("/items/1")

    requests = {
        point.attributes["redis_fastapi.cache.state"]: point.value
        for point in observed.points("redis_fastapi.requests")
    }
    assert requests == {"miss": 1, "hit": 2}
    assert sum(point.count for point in observed.points("redis_fastapi.lookup.duration")) == 3
    assert sum(point.sum for point in observed.points("redis_fastapi.response.body.size")) == 3
    (evictions,) = observed.points("redis_fastapi.evictions")
    assert (evictions.value, evictions.attributes["redis_fastapi.eviction.confirmed"]) == (1, True)
    operations = observed.points("db.client.operation.duration")
    assert {point.attributes["db.operation.name"] for point in operations} >= {"read", "fill"}
    assert all(point.explicit_bounds[0] == 0.0001 for point in operations)


def test_collapsed_stale_and_local_hits_are_counted_apart(observed: Observed) -> None:
    app = FastAPI()
    observed.watch(app)
    telemetry = telemetry_of(app, memory_settings())

    assert telemetry is not None
    telemetry.emit(Answered(ITEM_READ, "HIT", None, 1, 0, 0.5, waited=True))
    telemetry.emit(Answered(ITEM_READ, "STALE", None, 1, 0, 0.25))
    telemetry.emit(Answered(ITEM_READ, "HIT", None, 1, 0, 0.25, local=True))

    (waited,) = observed.points("redis_fastapi.wait.duration")
    assert (waited.count, waited.sum) == (1, 0.5)
    states = {
        (
            point.attributes["redis_fastapi.cache.state"],
            point.attributes.get("redis_fastapi.cache.tier"),
        )
        for point in observed.points("redis_fastapi.requests")
    }
    assert states == {("hit", None), ("stale", None), ("hit", "local")}


async def test_a_failed_operation_is_an_error_with_its_type_and_server(observed: Observed) -> None:
    app = FastAPI()
    settings = RedisSettings(url="redis://127.0.0.1:1", startup_checks=False)
    FastAPIRedis(app, settings).lifespan().caching()
    observed.watch(with_items(app))
    async with serving(app) as http:
        await http.get("/items/1")

    (read,) = observed.spans("redis read")
    assert read.status.status_code is StatusCode.ERROR
    attributes = dict(read.attributes or {})
    assert attributes["error.type"] == "CacheUnavailableError"
    assert (attributes["server.address"], attributes["server.port"]) == ("127.0.0.1", 1)
    (lookup,) = observed.spans("cache lookup")
    assert lookup.attributes is not None
    assert lookup.attributes["redis_fastapi.cache.state"] == "bypass"
    assert lookup.attributes["redis_fastapi.cache.reason"] == "unavailable"


def test_a_setting_switches_it_on() -> None:
    on = telemetry_of(FastAPI(), memory_settings(otel_enabled=True))

    assert on is not None
    assert [type(listener).__name__ for listener in on.listeners] == ["OpenTelemetry"]
    assert telemetry_of(FastAPI(), memory_settings()) is None


def test_otel_enabled_twice_listens_once() -> None:
    app = FastAPI()
    FastAPIRedis(app).otel().otel()

    telemetry = telemetry_of(app, memory_settings(otel_enabled=True))

    assert telemetry is not None
    assert len(telemetry.listeners) == 1


def test_without_the_package_the_error_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real_import = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real_import(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "redis_fastapi._telemetry.otel", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)

    with pytest.raises(CacheSetupError, match=r"fastapi-redis-annotated\[otel\]"):
        telemetry_of(FastAPI(), memory_settings(otel_enabled=True))
