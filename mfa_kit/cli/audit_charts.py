"""Parts of the HTML pages of audits: the colors of severities and results, and the chart of how users sign in."""

from collections.abc import Mapping
from typing import Final

from mfa_kit.account.account_users import WAYS
from mfa_kit.cli.html.chart import Bar, bar_chart
from mfa_kit.cli.html.shell import Tone, html_mark

TONES: Final = {
    "critical": Tone.BAD,
    "high": Tone.WARN,
    "medium": Tone.MILD,
    "low": Tone.CALM,
    "fail": Tone.BAD,
    "unknown": Tone.ODD,
    "accepted": Tone.MILD,
    "pass": Tone.GOOD,
    "not applicable": Tone.OFF,
}
WAY_TONES: Final = dict(zip(WAYS, (Tone.GOOD, Tone.FAIR, Tone.ODD, Tone.WARN, Tone.BAD), strict=True))


def audit_mark(name: str) -> str:
    """Return the HTML of a severity or a result: the word on a colored background."""
    return html_mark(name, TONES[name])


def audit_figure(title: str, chart: str) -> str:
    """Return a chart below its title, as HTML. `title` and `chart` are HTML too."""
    return f"<figure><figcaption>{title}</figcaption>{chart}</figure>"


def sign_in_chart(ways: Mapping[str, int]) -> str:
    """Return the HTML of a chart: for each way to sign in (WAYS), the number of users with a console password.

    `ways` maps each way to its number of users, and must have at least one user. Ways without users have no bar.
    """
    total = sum(ways.values())
    bars = [
        Bar(name, ways[name], tone, f"{ways[name]} ({100 * ways[name] / total:.0f} %)")
        for name, tone in WAY_TONES.items()
        if ways.get(name)
    ]
    return bar_chart(bars, full=total)
