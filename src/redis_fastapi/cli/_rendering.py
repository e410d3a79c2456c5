"""Tables, lines and JSON of what ``redis-fastapi`` found out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.markup import escape
from rich.table import Table

from .._telemetry.counters import RouteCounts
from ._explain import Explanation
from ._inventory import Stats
from ._operate import Warmed
from ._reports import RouteReport
from ._standing import EntryReport, Standing


def routes_table(reports: Iterable[RouteReport]) -> Table:
    """One row a route."""
    table = Table("route", "ttl", "key", "groups", "evicted by", box=None, padding=(0, 2, 1, 0))
    for report in reports:
        cells = (
            [report.name, f"({report.endpoint})"],
            _ttl_lines(report),
            [*report.key, *_write_lines(report)],
            report.groups,
            report.evicted_by,
        )
        table.add_row(*(escape("\n".join(cell)) for cell in cells))
    return table


def _ttl_lines(report: RouteReport) -> list[str]:
    if report.ttl is None:
        return []
    return [f"{report.ttl} s" if report.ttl else "no expiry", *report.flags]


def _write_lines(report: RouteReport) -> Iterator[str]:
    if report.never_stored:
        yield f"never stored: {report.never_stored}"
    if report.writes:
        yield f"puts {report.writes}"
    for name in report.evicts:
        yield f"evicts {name.replace('*', 'the whole cache', 1) if name[0] == '*' else name}"


def finding_lines(errors: list[str], warnings: list[str]) -> Iterator[str]:
    """What a check found."""
    for message in errors:
        yield f"error: {message}"
    for message in warnings:
        yield f"warning: {message}"
    if not errors and not warnings:
        yield "Nothing to complain about."


def explanation_lines(explanation: Explanation) -> Iterator[str]:
    """What the cache has to do with a request."""
    return _aligned(_explained(explanation))


def _aligned(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    return (f"{name:<12}{text}" for name, text in pairs)


def _explained(explanation: Explanation) -> Iterator[tuple[str, str]]:
    yield "request", explanation.request
    if (route := explanation.route) is not None:
        yield "route", f"{route.name} ({route.endpoint})"
        yield "ttl", ", ".join(_ttl_lines(route))
        yield "selected by", ", ".join(route.key)
    if explanation.groups:
        yield "groups", ", ".join(explanation.groups)
    if explanation.key is not None:
        yield "key", explanation.key
    if explanation.status is not None:
        yield "answer", str(explanation.status)
    yield (
        "storable",
        f"no: {'; '.join(explanation.not_stored)}" if explanation.not_stored else "yes",
    )
    for note in explanation.notes:
        yield "note", note
    if explanation.entry is not None:
        yield "entry", _entry_text(explanation.entry)


def _entry_text(entry: EntryReport) -> str:
    if entry.standing is Standing.UNKNOWN:
        return "unknown: Redis did not reply"
    if entry.age_seconds is None:
        return str(entry.standing.value)
    by = f" by {', '.join(entry.evicted_by)}" if entry.evicted_by else ""
    left = _left(entry.ttl_seconds)
    size = f"status {entry.status}, {entry.size_bytes} bytes"
    return f"{entry.standing.value}{by}: {entry.age_seconds:.0f} s old, {left}, {size}"


def _left(seconds: float | None) -> str:
    if seconds is None:
        return "no expiry"
    return f"{seconds:.0f} s left" if seconds >= 0 else f"ended {-seconds:.0f} s ago"


def stats_json(found: Stats) -> dict[str, Any]:
    """What lies in Redis and what was counted, for JSON."""
    routes = {
        route: counts.as_json() | {"hit_ratio": counts.hit_ratio}
        for route, counts in found.routes.items()
    }
    return {**asdict(found.inventory), "processes": found.processes, "routes": routes}


def inventory_lines(found: Stats) -> Iterator[str]:
    """What lies in Redis, and who counts."""
    return _aligned(_inventory(found))


def _inventory(found: Stats) -> Iterator[tuple[str, str]]:
    inventory = found.inventory
    least = "" if inventory.complete else "at least "
    mean = "" if inventory.mean_bytes is None else f", {_size(inventory.mean_bytes)} each"
    yield "entries", f"{least}{inventory.entries:,}{mean}"
    if (memory := inventory.memory) is not None:
        limit = _size(memory.most_bytes) if memory.most_bytes else "no maxmemory"
        yield "memory", f"{_size(memory.used_bytes)} used, {limit}, {memory.policy}"
    if not found.processes:
        yield "counts", "none: no process publishes any (REDIS_STATS_INTERVAL)"
    else:
        yield "counts", f"of {found.processes} running processes"


def _size(number: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


_COUNTS = ("route", "hits", "stale", "misses", "bypassed", "hit ratio", "lookup", "evictions")


def counts_table(routes: Mapping[str, RouteCounts]) -> Table:
    """What was counted, one row a route."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for number, name in enumerate(_COUNTS):
        table.add_column(name, justify="right" if number else "left")
    for route, counts in sorted(routes.items()):
        table.add_row(escape(route), *_count_cells(counts))
    return table


def _count_cells(counts: RouteCounts) -> Iterator[str]:
    local = f" ({counts.local_hits:,} local)" if counts.local_hits else ""
    yield f"{counts.hits:,}{local}" if counts.reads else ""
    for number in (counts.stale, counts.misses, counts.bypasses):
        yield f"{number:,}" if counts.reads else ""
    yield f"{counts.hit_ratio:.1%}" if counts.reads else ""
    yield f"{1000 * counts.lookup_seconds / counts.reads:.2f} ms" if counts.reads else ""
    unconfirmed = f" ({counts.unconfirmed:,} unconfirmed)" if counts.unconfirmed else ""
    yield f"{counts.evictions:,}{unconfirmed}" if counts.evictions else ""


def warmed_lines(done: Sequence[Warmed]) -> Iterator[str]:
    """The requests of a warm-up that stored nothing, and how many did."""
    for one in done:
        if one.failed or one.state not in ("HIT", "MISS"):
            yield f"{one.status} {one.state or 'not cached'}: {one.url}"
    states = [one.state for one in done if not one.failed]
    yield (
        f"{len(done)} requests: {states.count('MISS')} stored, {states.count('HIT')} there before, "
        f"{sum(one.failed for one in done)} failed."
    )
