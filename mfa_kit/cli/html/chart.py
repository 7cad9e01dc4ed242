"""Charts for HTML pages: bar charts and ring charts.

Labels are HTML text, so they wrap and keep their size on any screen.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mfa_kit.cli.html.shell import Tone, html_text

# The radius of a ring, its circumference, and its thickness, in pixels.
RADIUS, ROUND, RING = 54, 339.292, 26


class Bar(NamedTuple):
    """A bar: its label, its value, its color, and the text at its end."""

    label: str
    value: float
    tone: Tone
    end: str = ""


def bar_chart(bars: Iterable[Bar], *, full: float) -> str:
    """Return a chart of horizontal bars as HTML. A bar with the value `full` has the full width."""

    def row(bar: Bar) -> str:
        drawn = f'<i style="width:{100 * bar.value / full:.1f}%"></i>' if bar.value else ""
        return (
            f'<li class="{bar.tone}"><span>{html_text(bar.label)}</span>'
            f'<span class="n">{html_text(bar.end)}</span><span class="bar">{drawn}</span></li>'
        )

    return f'<ul class="bars">{"".join(map(row, bars))}</ul>'


def ring(bars: Sequence[Bar]) -> str:
    """Return a ring chart as HTML: each bar's share of the sum of all values, with the labels beside the ring."""
    total = sum(bar.value for bar in bars) or 1

    def shares() -> Iterator[str]:
        gone = 0.0
        for bar in bars:
            share = ROUND * bar.value / total
            if bar.value:
                yield (
                    f'<circle class="{bar.tone}" cx="70" cy="70" r="{RADIUS}" stroke-width="{RING}" '
                    f'stroke-dasharray="{share:.2f} {ROUND - share:.2f}" stroke-dashoffset="{ROUND / 4 - gone:.2f}"/>'
                )
            gone += share

    labels = "".join(f'<li class="{bar.tone}">{html_text(bar.label)}</li>' for bar in bars)
    drawn = f'<svg viewBox="0 0 140 140" width="140" height="140" aria-hidden="true">{"".join(shares())}</svg>'
    return f'<div class="ring">{drawn}<ul>{labels}</ul></div>'
