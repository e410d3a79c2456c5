"""Metrics of the cache for Prometheus, through OpenTelemetry's exporter."""
