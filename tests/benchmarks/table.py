"""Results as a Markdown table, and what they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import quantiles

from .contenders import CONTENDERS, OURS, PLAIN
from .measuring import Plan, Results, Row
from .scenarios import HIT

STRAYS_ALLOWED = 0.01
"""Share of requests that may be answered otherwise than their scenario says."""


def table(plan: Plan, results: Results) -> str:
    """Microseconds per request of each contender and how they compare; medians and quartiles."""
    names = [contender.name for contender in plan.contenders]
    comparisons = list(_comparisons(names))
    head = ["request", "lanes", *(f"{name} µs" for name in names)]
    head += [f"{dividend} / {divisor}" for dividend, divisor in comparisons]
    lines = [head, ["---"] * len(head)]
    for row in results.microseconds:
        costs = [_spread(results.microseconds[row][name], ".0f") for name in names]
        ratios = [_spread(results.ratios(row, *pair), ".2f") for pair in comparisons]
        lines.append([row.scenario, str(row.lanes), *costs, *ratios])
    return _aligned(lines)


def _comparisons(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Peers against ours, then ours against no cache."""
    peers = [one.name for one in CONTENDERS if one.is_peer and one.name in names]
    yield from ((peer, ours) for peer in peers for ours in OURS)
    yield from ((ours, PLAIN) for ours in OURS)


def _spread(values: Sequence[float], form: str) -> str:
    low, middle, high = _quartiles(values)
    return f"{middle:{form}} ({low:{form}}-{high:{form}})"


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = (map(str.ljust, line, widths) for line in lines)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in padded)


def objections(plan: Plan, results: Results) -> list[str]:
    """What must not be so: unexpected answers, and a HIT slower than a peer's."""
    return [*_strays(results), *_slower_hits(plan, results)]


def _strays(results: Results) -> Iterator[str]:
    for (row, name), strays in results.strays.items():
        requests = results.requests[row, name]
        if strays > STRAYS_ALLOWED * requests:
            yield (
                f"{row.scenario}, {row.lanes} lanes, {name}: {strays} of {requests} requests were "
                "not answered as this scenario expects, so its row means nothing"
            )


def _slower_hits(plan: Plan, results: Results) -> Iterator[str]:
    peers = [contender.name for contender in plan.contenders if contender.is_peer]
    for row in (Row(HIT, lanes) for lanes in plan.lanes):
        for peer in peers:
            for ours in OURS:
                middle = _quartiles(results.ratios(row, peer, ours))[1]
                if middle < 1:
                    yield (
                        f"a HIT of {ours} at {row.lanes} lanes is slower than that of {peer}: "
                        f"{peer} / {ours} = {middle:.2f}"
                    )
