"""Formats results as Markdown tables, and writes them between the page's markers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median, quantiles

from .chart import Bar, bar_chart
from .contenders import CONTENDERS, OURS, Contender
from .goals import Found, Verdict, verdicts
from .growth import Grown
from .measuring import LANES, Costs
from .scenarios import HIT, SCENARIOS, Scenario

_SAYS = {None: "not measured", True: "met", False: "**missed**"}


def sections(found: Found, conditions: str) -> dict[str, str]:
    """The generated parts of the page, by the names of their markers."""
    return {
        "conditions": conditions,
        "goals": "\n\n".join([goals_table(verdicts(found)), *_pictures(found)]),
        "costs": "\n\n".join(_cost_tables(found.costs)),
        "beside": "\n\n".join(_beside(found)),
        "growth": "\n\n".join(map(_growth_table, found.grown)),
    }


def write_page(page: Path, parts: dict[str, str]) -> None:
    """Replace what stands between the markers of each part; raises ValueError without them."""
    text = page.read_text()
    for name, part in parts.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}\n{part}\n\n{end}{after}"
    page.write_text(text)


def charts(found: Found) -> dict[str, str]:
    """Charts by the names of their files."""
    drawn = {}
    for lanes in LANES:
        bars = [
            Bar(one.name, median(values), one in OURS)
            for one in HIT.contenders
            if (values := found.costs.of(HIT, lanes, one))
        ]
        title = f"{HIT.name}, 500 B, {lanes} at a time: microseconds a request"
        drawn[f"hit-{lanes}.svg"] = bar_chart(title, "µs", sorted(bars, key=lambda b: b.value))
    return drawn


def _pictures(found: Found) -> Iterator[str]:
    for name in charts(found):
        yield f"![What a hit costs](performance/{name})"


def goals_table(found: Iterator[Verdict]) -> str:
    """Each goal, what was measured, and whether that is enough."""
    lines = [["goal", "bound", "measured", ""], ["---", "---:", "---:", "---"]]
    for one in found:
        sign = "≥" if one.at_least else "≤"
        measured = spread(one.values, ".2f", one.unit) if one.values else ""
        lines.append([one.goal, f"{sign} {one.bound:g}{one.unit}", measured, _SAYS[one.met]])
    return _aligned(lines)


def _cost_tables(costs: Costs) -> Iterator[str]:
    for scenario in SCENARIOS:
        yield f"### {scenario.name}\n\n{_cost_table(costs, scenario)}"


def _cost_table(costs: Costs, scenario: Scenario) -> str:
    waiting, computing = "µs", "computing"
    if scenario.until_answered:
        waiting, computing = "µs until answered", "all computing"
    head = [""]
    for lanes in LANES:
        head += [f"{waiting}, {lanes} at a time", computing]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for one in scenario.contenders:
        cells = [cell for lanes in LANES for cell in _cost_cells(costs, scenario, lanes, one)]
        if any(cells):
            lines.append([_emphasised(one), *cells])
    return _aligned(lines)


def _cost_cells(costs: Costs, scenario: Scenario, lanes: int, one: Contender) -> Iterator[str]:
    wall, cpu = costs.of(scenario, lanes, one), costs.of(scenario, lanes, one, "cpu")
    yield spread(wall, ".1f") if wall else ""
    yield f"{median(cpu):.1f}" if cpu else ""


def _emphasised(contender: Contender) -> str:
    return f"**{contender.name}**" if contender in OURS else contender.name


def _beside(found: Found) -> Iterator[str]:
    if found.rates:
        lines = [["uvicorn, 1 worker, 32 connections", "requests/s"], ["---", "---:"]]
        for one in CONTENDERS:
            if one.name in found.rates:
                lines.append([_emphasised(one), spread(found.rates[one.name], ",.0f")])
        yield _aligned(lines)
    if found.evictions:
        lines = [
            ["evicting 100,000 entries among 1,000,000 keys", "ms", "worst PING of another, ms"],
            ["---", "---:", "---:"],
        ]
        for name, one_found in found.evictions.items():
            cells = [spread(one_found.calls, ",.2f"), spread(one_found.pings, ",.2f")]
            lines.append([name, *cells])
        yield _aligned(lines)
    if found.imports:
        lines = [["importing", "ms of computing"], ["---", "---:"]]
        lines += [[name, spread(values, ".0f")] for name, values in found.imports.items()]
        yield _aligned(lines)


def _growth_table(grown: Grown) -> str:
    names = list(dict.fromkeys(name for _, name in grown.cells))
    lines = [[grown.title, *(f"{name}, {grown.unit}" for name in names)]]
    lines.append(["---:"] * len(lines[0]))
    for value in dict.fromkeys(value for value, _ in grown.cells):
        cells = [spread(grown.cells[value, name], ",.0f") for name in names]
        lines.append([value, *cells])
    return _aligned(lines)


def spread(values: Sequence[float], form: str, unit: str = "") -> str:
    """Median and quartiles, or what there is of fewer than two values."""
    if len(values) < 2:
        return f"{values[0]:{form}}{unit}"
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return f"{middle:{form}}{unit} ({low:{form}} to {high:{form}})"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in lines
    )
