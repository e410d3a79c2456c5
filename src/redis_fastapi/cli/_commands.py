"""The commands of ``redis-fastapi``: arguments, actions and exit codes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any, NoReturn

import orjson
import typer
from rich.console import Console
from rich.progress import Progress

from .._app.runtime import settings_of
from .._routes.checks import check_routes
from ..exceptions import CacheError
from ..settings import get_settings
from ._client import Headers
from ._explain import explain
from ._graph import mermaid
from ._load import load_app, registry_of
from ._operate import addresses, evict, names_to_evict, stats, warm
from ._rendering import (
    counts_table,
    explanation_lines,
    finding_lines,
    inventory_lines,
    routes_table,
    stats_json,
    warmed_lines,
)
from ._reports import route_reports

cli = typer.Typer(
    name="redis-fastapi",
    help="Inspect and operate the cache of an application.",
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
"""Columns if the output is not a terminal."""


def _out() -> Console:
    # a pipe gets whole lines and no colour
    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)


def _print_json(data: Any) -> None:
    typer.echo(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode())


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)


def _fail(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


@contextmanager
def _telling_errors() -> Iterator[None]:
    """Print errors of this library as a message, without a traceback."""
    try:
        yield
    except CacheError as error:
        _fail(f"Error: {error}")


@cli.command()
def routes(app: App, json: Json = False) -> None:
    """List what each route does with the cache, and what evicts it."""
    with _telling_errors():
        loaded = load_app(app)
        default_ttl = settings_of(loaded).default_ttl
        reports = route_reports(registry_of(loaded), default_ttl=default_ttl)
    if json:
        _print_json([asdict(report) for report in reports])
    elif reports:
        _out().print(routes_table(reports))
    else:
        _out().print("No route has to do with the cache.")


@cli.command()
def check(
    app: App,
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as errors.")] = False,
    json: Json = False,
) -> None:
    """Check declarations, settings and all routes together; exit code 1 on errors."""
    errors, warnings = _findings(app, strict=strict)
    if json:
        _print_json({"errors": errors, "warnings": warnings})
    else:
        _print_lines(finding_lines(errors, warnings))
    if errors:
        raise typer.Exit(1)


def _findings(app: str, *, strict: bool) -> tuple[list[str], list[str]]:
    """Errors and warnings; all as errors if the command or the settings are strict."""
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


@cli.command()
def graph(app: App, json: Json = False) -> None:
    """Print writes, groups and reads as a mermaid flowchart."""
    with _telling_errors():
        chart = mermaid(registry_of(load_app(app)))
    if json:
        _print_json({"mermaid": chart})
    else:
        typer.echo(chart)


@cli.command("explain")
def explain_request(
    app: App,
    method: Annotated[str, typer.Argument(help="GET, for example.")],
    url: Annotated[str, typer.Argument(help="Path with query, as /products/1?lang=de.")],
    header: SentHeaders = None,
    json: Json = False,
) -> None:
    """Show what the cache would do with a request, and the state of its entry.

    The lifespan and the dependencies run, the endpoint does not.
    """
    with _telling_errors():
        explanation = asyncio.run(explain(load_app(app), method, url, _headers(header)))
    if json:
        _print_json(asdict(explanation))
    else:
        _print_lines(explanation_lines(explanation))


def _headers(texts: list[str] | None) -> Headers:
    pairs = [text.partition(":") for text in texts or ()]
    if not all(separator for _, separator, _ in pairs):
        raise typer.BadParameter("write a header as 'Name: value'")
    return tuple((name.strip(), value.strip()) for name, _, value in pairs)


@cli.command("evict")
def evict_names(
    app: Annotated[
        str | None, typer.Argument(metavar="[MODULE:APP]", help="Needed for --key.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="A group, with its fields filled in.")
    ] = None,
    key: Annotated[list[str] | None, typer.Option(help="A path, with all its variants.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="The whole cache.")] = False,
    json: Json = False,
) -> None:
    """Evict groups, paths or everything; exit code 1 if Redis did not confirm it."""
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


@cli.command("stats")
def show_stats(
    app: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODULE:APP]",
            help="Application whose settings to use; default: the environment.",
        ),
    ] = None,
    most: Annotated[
        int, typer.Option("--most", min=1, help="Maximum number of entries to count.")
    ] = 10_000,
    json: Json = False,
) -> None:
    """Show what is stored in Redis, and the counters of all processes per route.

    Processes publish their counters if REDIS_STATS_INTERVAL is set.
    """
    with _telling_errors():
        settings = get_settings() if app is None else settings_of(load_app(app))
        found = asyncio.run(stats(settings, most=most))
    if json:
        _print_json(stats_json(found))
        return
    _print_lines(inventory_lines(found))
    if found.routes:
        _out().print(counts_table(found.routes))


@cli.command("warm")
def warm_up(
    app: App,
    file: Annotated[
        typer.FileText,
        typer.Option("--from", help="File of URLs, one per line; - is standard input."),
    ],
    header: SentHeaders = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Concurrent requests.")] = 8,
    json: Json = False,
) -> None:
    """Request URLs through the application, in this process; exit code 1 if one fails."""
    urls = addresses(file)
    with _telling_errors(), Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("warming up", total=len(urls))
        warming = warm(
            load_app(app),
            urls,
            _headers(header),
            concurrency=concurrency,
            report=lambda _: progress.advance(task),
        )
        done = asyncio.run(warming)
    if json:
        _print_json([asdict(one) for one in done])
    else:
        _print_lines(warmed_lines(done))
    if any(one.failed for one in done):
        raise typer.Exit(1)
