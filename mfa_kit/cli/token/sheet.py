"""A printable HTML page about the acceptance test of a box of tokens. The page contains no seed."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from mfa_kit.cli.html.chart import Bar, bar_chart
from mfa_kit.cli.html.shell import Tone, html_mark, html_page, html_table, html_text, html_time, html_words
from mfa_kit.tokens.acceptance import TokenBatch, histogram
from mfa_kit.tokens.seeds import Factor, Sighting, Token, TokenVerdict

TONES = {
    TokenVerdict.ACCEPTED: Tone.GOOD,
    TokenVerdict.REJECTED: Tone.BAD,
    TokenVerdict.UNTESTED: Tone.OFF,
}
STYLE = " .sign { margin-top: 2.5rem } "
# If at least this many consecutive bins are empty, the chart shows them as a single line.
GAP = 2


def acceptance_sheet(box: TokenBatch, *, name: str, reported_at: float, missing: int = 0) -> str:
    """Return an HTML page about the test of a box of tokens.

    `name` is the name of the seed file, `reported_at` the Unix time of the report, and `missing` the number of rows of
    the file that are not in the box.
    """
    left_out = f"<p><b>Rows of this file that could not be imported and are not listed below: {missing}.</b></p>"
    count = len(box.tokens)
    verdicts = [Bar(verdict, box.of(verdict), tone, str(box.of(verdict))) for verdict, tone in TONES.items()]
    body = [
        "<h1>Display tokens: acceptance test of a box</h1>",
        f'<p class="soft">{html_words(name)}, reported {html_time(reported_at)}</p>',
        f'<p class="lead"><b>{box.of(TokenVerdict.ACCEPTED)} of {count} tokens accepted</b></p>',
        *([left_out] if missing else ()),
        bar_chart(verdicts, full=count),
        *_clocks(box.offsets),
        "<h2>Tokens</h2>",
        html_table(
            ("Serial", "Type", "Verdict", "Clock, s", "Read", "Why"),
            [_row(token, sighting) for token, sighting in box.tokens],
            numbers=[3],
        ),
        '<p class="sign">Accepted by ____________________ on ____________________</p>',
    ]
    return html_page(f"Tokens of {name}", body, style=STYLE)


def _row(token: Token, sighting: Sighting | None) -> tuple[str, ...]:
    verdict = sighting.verdict if sighting else TokenVerdict.UNTESTED
    clock = _signed(sighting.seconds) if sighting and sighting.seconds is not None else ""
    step = f", {token.period} s" if token.factor is Factor.TOTP else ""
    return (
        html_words(token.serial),
        html_text(f"{token.factor.upper()}, {token.digits} digits{step}"),
        html_mark(verdict, TONES[verdict]),
        clock,
        html_time(sighting.at) if sighting else "",
        html_words(sighting.reason) if sighting else "",
    )


def _clocks(offsets: Sequence[int]) -> Iterator[str]:
    """Yield the HTML of a chart with the number of tokens for each clock offset in seconds.

    A negative offset means that the clock is behind. Without offsets, yield a sentence instead.
    """
    if not offsets:
        yield "<p>No clock was read.</p>"
        return
    yield "<h2>Clocks of the accepted tokens, seconds ahead (negative: behind)</h2>"
    bars = list(_bars(histogram(offsets)))
    yield bar_chart(bars, full=max(bar.value for bar in bars))


def _bars(bins: Sequence[tuple[int, int]]) -> Iterator[Bar]:
    """Yield a bar per bin. GAP or more consecutive empty bins share a single bar of length zero."""
    for empty, some in groupby(bins, key=lambda histogram_bin: not histogram_bin[1]):
        group = list(some)
        if empty and len(group) >= GAP:
            yield Bar(f"{_signed(group[0][0])} to {_signed(group[-1][0])}", 0, Tone.OFF, "0")
        else:
            yield from (Bar(_signed(middle), count, Tone.GOOD, str(count)) for middle, count in group)


def _signed(seconds: int) -> str:
    return f"{seconds:+d}" if seconds else "0"
