"""What ``redis-fastapi`` offers, and how it is shown."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any, NoReturn

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from ._client import Headers
from ._counters import RouteCounts
from ._explain import Explanation, explain
from ._graph import mermaid
from ._inventory import Stats
from ._load import load_app, registry_of
from ._operate import Warmed, addresses, evict, names_to_evict, stats, warm
from ._registry import check_routes
from ._reports import RouteReport, route_reports
from ._runtime import settings_of
from ._standing import EntryReport, Standing
from .exceptions import CacheError
from .settings import get_settings

cli = typer.Typer(
    name="redis-fastapi",
    help="Look at what an application does with its cache, and operate it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

App = Annotated[str, typer.Argument(metavar="MODULE:APP", help="For example shop.main:app.")]
SentHeaders = Annotated[
    list[str] | None, typer.Option("--header", "-H", help="Request header, as 'Name: value'.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_PLAIN_WIDTH = 160
"""Columns where nobody's terminal says how many there are."""


def _out() -> Console:
    # a pipe gets whole lines and no colour
    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)


def _print_json(data: Any) -> None:
    typer.echo(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode())


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


@contextmanager
def _telling_errors() -> Iterator[None]:
    """Errors of this library as their message, without a traceback."""
    try:
        yield
    except CacheError as error:
        _fail(f"Error: {error}")


# -- routes


@cli.command()
def routes(app: App, json: Json = False) -> None:
    """List what each route does with the cache, and who evicts it."""
    with _telling_errors():
        loaded = load_app(app)
        default_ttl = settings_of(loaded).default_ttl
        reports = route_reports(registry_of(loaded), default_ttl=default_ttl)
    if json:
        _print_json([asdict(report) for report in reports])
    elif reports:
        _out().print(_routes_table(reports))
    else:
        _out().print("No route has to do with the cache.")


def _routes_table(reports: Iterable[RouteReport]) -> Table:
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


# -- check


@cli.command()
def check(
    app: App,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors.")] = False,
    json: Json = False,
) -> None:
    """Check declarations, settings and all routes together; exit code 1 on errors."""
    errors, warnings = _findings(app, strict=strict)
    if json:
        _print_json({"errors": errors, "warnings": warnings})
    else:
        _print_findings(errors, warnings)
    if errors:
        raise typer.Exit(1)


def _findings(app: str, *, strict: bool) -> tuple[list[str], list[str]]:
    """Errors and warnings; as errors, where the command or the settings are strict."""
    try:
        loaded = load_app(app)
        settings = settings_of(loaded)
        strict = settings.strict or strict
        checked = check_routes(registry_of(loaded), default_ttl=settings.default_ttl)
    except CacheError as error:
        return [str(error)], []
    errors = [str(error) for error in (*checked.errors, *checked.found())]
    warnings = checked.warnings
    return ([*errors, *warnings], []) if strict else (errors, warnings)


def _print_findings(errors: list[str], warnings: list[str]) -> None:
    for message in errors:
        typer.echo(f"error: {message}")
    for message in warnings:
        typer.echo(f"warning: {message}")
    if not errors and not warnings:
        typer.echo("Nothing to complain about.")


# -- graph


@cli.command()
def graph(app: App, json: Json = False) -> None:
    """Print writes, groups and reads as a mermaid flowchart."""
    with _telling_errors():
        chart = mermaid(registry_of(load_app(app)))
    if json:
        _print_json({"mermaid": chart})
    else:
        typer.echo(chart)


# -- explain


@cli.command("explain")
def explain_request(
    app: App,
    method: Annotated[str, typer.Argument(help="GET, for example.")],
    url: Annotated[str, typer.Argument(help="Path with query, as /products/1?lang=de.")],
    header: SentHeaders = None,
    json: Json = False,
) -> None:
    """Say what the cache would do with a request, and how its entry stands.

    The lifespan and the dependencies run, the endpoint does not.
    """
    with _telling_errors():
        explanation = asyncio.run(explain(load_app(app), method, url, _headers(header)))
    if json:
        _print_json(asdict(explanation))
        return
    for name, text in _explained(explanation):
        typer.echo(f"{name:<12}{text}")


def _headers(texts: list[str] | None) -> Headers:
    pairs = [text.partition(":") for text in texts or ()]
    if not all(separator for _, separator, _ in pairs):
        raise typer.BadParameter("write a header as 'Name: value'")
    return tuple((name.strip(), value.strip()) for name, _, value in pairs)


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
        return "unknown: Redis did not answer"
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


# -- evict


@cli.command("evict")
def evict_names(
    app: Annotated[
        str | None, typer.Argument(metavar="[MODULE:APP]", help="Needed for --key.")
    ] = None,
    group: Annotated[list[str] | None, typer.Option(help="A group, its fields filled in.")] = None,
    key: Annotated[list[str] | None, typer.Option(help="A path; all its variants go.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="The whole cache.")] = False,
    json: Json = False,
) -> None:
    """Evict groups, paths or everything; exit code 1 where Redis did not confirm it."""
    if not (group or key or everything):
        raise typer.BadParameter("name what to evict: --group, --key or --all")
    if key and app is None:
        raise typer.BadParameter("--key needs the application, which knows who reads the path")
    with _telling_errors():
        confirmed = _evict(app, group or [], key or [], everything)
    if json:
        _print_json({"confirmed": confirmed})
    elif confirmed:
        typer.echo("Evicted.")
    if not confirmed:
        _fail("Error: Redis did not confirm the eviction")


def _evict(app: str | None, groups: list[str], paths: list[str], everything: bool) -> bool:
    loaded = None if app is None else load_app(app)
    registry = None if loaded is None else registry_of(loaded)
    settings = get_settings() if loaded is None else settings_of(loaded)
    names = names_to_evict(registry, groups=groups, paths=paths, everything=everything)
    return asyncio.run(evict(settings, names))


# -- stats


@cli.command("stats")
def show_stats(
    app: Annotated[
        str | None,
        typer.Argument(metavar="[MODULE:APP]", help="Whose settings count; else the environment."),
    ] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Entries that are counted.")] = 10_000,
    json: Json = False,
) -> None:
    """Say what lies in Redis, and what the processes count by route.

    Processes publish their counts where REDIS_STATS_INTERVAL is set.
    """
    with _telling_errors():
        settings = get_settings() if app is None else settings_of(load_app(app))
        found = asyncio.run(stats(settings, most=most))
    if json:
        _print_json(_stats_json(found))
        return
    for name, text in _inventory_lines(found):
        typer.echo(f"{name:<12}{text}")
    if found.routes:
        _out().print(_counts_table(found.routes))


def _stats_json(found: Stats) -> dict[str, Any]:
    routes = {
        route: counts.as_json() | {"hit_ratio": counts.hit_ratio}
        for route, counts in found.routes.items()
    }
    return {**asdict(found.inventory), "processes": found.processes, "routes": routes}


def _inventory_lines(found: Stats) -> Iterator[tuple[str, str]]:
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


_COUNTS = ("route", "hits", "stale", "misses", "bypassed", "hit ratio", "look-up", "evictions")


def _counts_table(routes: Mapping[str, RouteCounts]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for number, name in enumerate(_COUNTS):
        table.add_column(name, justify="right" if number else "left")
    for route, counts in sorted(routes.items()):
        table.add_row(escape(route), *_count_cells(counts))
    return table


def _count_cells(counts: RouteCounts) -> Iterator[str]:
    for number in (counts.hits, counts.stale, counts.misses, counts.bypasses):
        yield f"{number:,}" if counts.reads else ""
    yield f"{counts.hit_ratio:.1%}" if counts.reads else ""
    yield f"{1000 * counts.lookup_seconds / counts.reads:.2f} ms" if counts.reads else ""
    unconfirmed = f" ({counts.unconfirmed:,} unconfirmed)" if counts.unconfirmed else ""
    yield f"{counts.evictions:,}{unconfirmed}" if counts.evictions else ""


# -- warm


@cli.command("warm")
def warm_up(
    app: App,
    file: Annotated[
        typer.FileText, typer.Option("--from", help="Addresses, one a line; - is standard input.")
    ],
    header: SentHeaders = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 8,
    json: Json = False,
) -> None:
    """Request addresses through the application, in this process; exit code 1 where one fails."""
    urls = addresses(file)
    with _telling_errors(), Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("warming up", total=len(urls))
        warming = warm(
            load_app(app),
            urls,
            _headers(header),
            concurrency=concurrency,
            tell=lambda _: progress.advance(task),
        )
        done = asyncio.run(warming)
    if json:
        _print_json([asdict(one) for one in done])
    else:
        _print_warmed(done)
    if any(one.failed for one in done):
        raise typer.Exit(1)


def _print_warmed(done: list[Warmed]) -> None:
    for one in done:
        if one.failed or one.state not in ("HIT", "MISS"):
            typer.echo(f"{one.status} {one.state or 'not cached'}: {one.url}")
    states = [one.state for one in done if not one.failed]
    typer.echo(
        f"{len(done)} requests: {states.count('MISS')} stored, {states.count('HIT')} there before, "
        f"{sum(one.failed for one in done)} failed."
    )
