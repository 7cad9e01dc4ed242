"""Charts for HTML pages, as SVG: bars beside or above their labels, and a ring of shares. Sizes are in pixels."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mfa_kit.cli.html.shell import html_text

# The thickness of a bar and the distance between rows, in a chart with bars below each other.
THICK, STEP = 20, 30
# For columns: the height of the highest one, the room below for labels and above for numbers, and the maximum width.
HIGH, FOOT, HEAD, WIDEST = 160, 40, 20, 80
# The number of labels that fit in a row.
LABELS = 12
# The radius of a ring, its circumference, and its thickness.
RADIUS, ROUND, RING = 54, 339.292, 26


class Bar(NamedTuple):
    """A bar: its label, its length in the unit of the chart, the text at its end, its color, and a tooltip."""

    label: str
    value: float
    end: str = ""
    color: str = "#456"
    tooltip: str = ""


def bar_chart(bars: Sequence[Bar], *, full: float, width: int = 720, labels: int = 120, ends: int = 110) -> str:
    """Return bars below each other. A bar of `full` takes the width that `labels` and `ends` leave."""

    def row(number: int, bar: Bar) -> str:
        y, long = number * STEP, (width - labels - ends) * bar.value / (full or 1)
        long = max(long, 2) if bar.value else 0
        tooltip = f"<title>{html_text(bar.tooltip)}</title>" if bar.tooltip else ""
        end = _text(labels + long + 8, y + 20, bar.end, anchor="start") if bar.end else ""
        label = _text(0, y + 20, bar.label, anchor="start")
        return f"<g>{tooltip}{label}{_rect(labels, y + 5, long, THICK, bar.color)}{end}</g>"

    alt = ", ".join(f"{bar.end} {bar.label}".strip() for bar in bars)
    return _svg(width, max(1, len(bars)) * STEP, alt, (row(number, bar) for number, bar in enumerate(bars)))


def column_chart(bars: Sequence[Bar], *, alt: str, width: int = 720) -> str:
    """Return bars beside each other on a line. Empty bars are gaps. If there are many bars, only some get a label."""
    most = max(bar.value for bar in bars) or 1
    room, every = min(WIDEST, width / len(bars)), max(1, len(bars) // LABELS)
    foot = HEAD + HIGH

    def column(number: int, bar: Bar) -> Iterator[str]:
        x, high = number * room, HIGH * bar.value / most
        if bar.value:
            yield _rect(x + room * 0.1, foot - high, room * 0.8, high, bar.color)
            yield _text(x + room / 2, foot - high - 4, bar.end, anchor="middle")
        if number % every == 0:
            yield _text(x + room / 2, foot + 16, bar.label, anchor="middle")

    line = f'<line x1="0" y1="{foot}" x2="{width}" y2="{foot}" stroke="#111"/>'
    columns = (part for number, bar in enumerate(bars) for part in column(number, bar))
    return _svg(width, foot + FOOT, alt, (line, *columns))


def ring(bars: Sequence[Bar]) -> str:
    """Return shares of a whole as a ring, with the labels beside it."""
    total = sum(bar.value for bar in bars) or 1

    def parts() -> Iterator[str]:
        gone = 0.0
        for number, bar in enumerate(bars):
            share = ROUND * bar.value / total
            if bar.value:
                yield (
                    f'<circle cx="75" cy="75" r="{RADIUS}" fill="none" stroke="{bar.color}" stroke-width="{RING}" '
                    f'stroke-dasharray="{share:.2f} {ROUND - share:.2f}" stroke-dashoffset="{ROUND / 4 - gone:.2f}"/>'
                )
            gone += share
            y = 38 + 26 * number
            yield _rect(165, y - 11, 13, 13, bar.color)
            yield _text(186, y, bar.label, anchor="start")

    return _svg(340, 150, ", ".join(bar.label for bar in bars), parts())


def _svg(width: int, height: int, alt: str, parts: Iterable[str]) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{html_text(alt)}">{"".join(parts)}</svg>'


def _rect(x: float, y: float, width: float, height: float, color: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{color}"/>'


def _text(x: float, y: float, value: str, *, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html_text(value)}</text>'
