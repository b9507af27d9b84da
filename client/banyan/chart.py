"""Draws a released table for a notebook: an HTML table, and an SVG bar chart with error bars. Every text is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_MOST_BARS = 40
_ROW, _LEFT, _WIDTH, _MARGIN = 20, 160, 420, 12


@dataclass(frozen=True)
class Bar:
    """One value with its interval."""

    label: str
    value: float
    low: float
    high: float


def html(headers: Sequence[str], rows: Sequence[Sequence[str]], bars: Sequence[Bar], footer: str) -> str:
    """The table, the chart if there are two bars or more, and a line of text under them."""
    head = "".join(f"<th>{escape(name)}</th>" for name in headers)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    drawn = svg(bars) if 1 < len(bars) <= _MOST_BARS else ""
    return f"<div>{table}{drawn}<p><small>{escape(footer)}</small></p></div>"


def svg(bars: Sequence[Bar]) -> str:
    """Horizontal bars from zero, each with a line from low to high."""
    least = min(0.0, *(bar.low for bar in bars))
    most = max(0.0, *(bar.high for bar in bars))
    scale = _WIDTH / ((most - least) or 1.0)

    def x(value: float) -> float:
        return round(_LEFT + (value - least) * scale, 1)

    drawn = []
    for number, bar in enumerate(bars):
        top = number * _ROW
        middle, start, width = top + _ROW // 2, min(x(0), x(bar.value)), abs(x(bar.value) - x(0))
        drawn.append(
            f'<text x="{_LEFT - 6}" y="{middle + 4}" text-anchor="end" font-size="12">{escape(bar.label[:24])}</text>'
            f'<rect x="{start}" y="{top + 3}" width="{width:.1f}" height="{_ROW - 6}" fill="#7aa6c2"/>'
            f'<line x1="{x(bar.low)}" x2="{x(bar.high)}" y1="{middle}" y2="{middle}" stroke="#222" stroke-width="1.5"/>'
        )
    size = f'width="{_LEFT + _WIDTH + _MARGIN}" height="{len(bars) * _ROW}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">{"".join(drawn)}</svg>'
