"""Draws a bar chart as SVG, readable on light and dark pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

_ROW = 24
_BAR = 16
_LEFT = 170
_WIDTH = 760
_TOP = 34
_OURS, _OTHERS = "#c6302b", "#7a8288"


class Bar(NamedTuple):
    """One bar; `ours` sets it apart."""

    label: str
    value: float
    ours: bool


def bar_chart(title: str, unit: str, bars: Sequence[Bar]) -> str:
    """The chart; the longest bar fills the width."""
    height = _TOP + _ROW * len(bars) + 8
    scale = (_WIDTH - _LEFT - 90) / max((bar.value for bar in bars), default=1.0)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}" font-family="system-ui, sans-serif" font-size="13">',
        f'<text x="8" y="20" font-weight="600" fill="{_OTHERS}">{escape(title)}</text>',
        *_bars(bars, unit, scale),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _bars(bars: Sequence[Bar], unit: str, scale: float) -> Iterator[str]:
    for number, bar in enumerate(bars):
        top = _TOP + number * _ROW
        middle, end = top + _BAR - 4, _LEFT + bar.value * scale
        colour = _OURS if bar.ours else _OTHERS
        yield (
            f'<text x="{_LEFT - 8}" y="{middle}" text-anchor="end" fill="{_OTHERS}">'
            f"{escape(bar.label)}</text>"
        )
        yield (
            f'<rect x="{_LEFT}" y="{top}" width="{end - _LEFT:.1f}" height="{_BAR}" rx="2" '
            f'fill="{colour}"/>'
        )
        yield (
            f'<text x="{end + 6:.1f}" y="{middle}" fill="{_OTHERS}">{bar.value:,.0f} '
            f"{escape(unit)}</text>"
        )
