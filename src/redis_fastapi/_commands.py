"""What ``redis-fastapi`` offers, and how it is shown; what to show is decided in ``_inspect``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, Any, NoReturn

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ._inspect import RouteReport, mermaid, route_reports
from ._load import load_app, registry_of
from ._registry import check_routes
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
        registry = registry_of(load_app(app))
        reports = route_reports(registry, default_ttl=get_settings().default_ttl)
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
        yield f"evicts {'the whole cache' if name == '*' else name}"


# -- check


@cli.command()
def check(
    app: App,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings are errors.")] = False,
    json: Json = False,
) -> None:
    """Check declarations and settings as a start does; exit code 1 on errors."""
    errors, warnings = _findings(app)
    if strict or (not errors and get_settings().strict):
        errors, warnings = [*errors, *warnings], []
    if json:
        _print_json({"errors": errors, "warnings": warnings})
    else:
        _print_findings(errors, warnings)
    if errors:
        raise typer.Exit(1)


def _findings(app: str) -> tuple[list[str], list[str]]:
    try:
        get_settings()
        errors, warnings = check_routes(registry_of(load_app(app)))
    except CacheError as error:
        return [str(error)], []
    return [str(error) for error in errors], warnings


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
