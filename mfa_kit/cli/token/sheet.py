"""A printable HTML page about a box of tokens. It contains no seed."""

from collections.abc import Iterator, Sequence

from mfa_kit.cli.html.chart import Bar, column_chart
from mfa_kit.cli.html.shell import html_page, html_text
from mfa_kit.core.timestamps import iso_time
from mfa_kit.tokens.box import Box, histogram
from mfa_kit.tokens.seeds import Factor, Sighting, Token, TokenVerdict

HEAD = '<th>Serial</th><th>Type</th><th>Verdict</th><th class="n">Clock, s</th><th>Read</th>'
STYLE = """
  .sum { display: flex; gap: 2.5rem; margin: 1rem 0 } .sum b { display: block; font-size: 26px }
  td, th { white-space: nowrap } td.why { white-space: normal; overflow-wrap: anywhere; padding-left: 1.5rem }
  tr:has(+ .reason) td { border-bottom: 0 } .reason { break-before: avoid }
  .rejected td { font-weight: bold } .untested td { color: #666 } .sign { margin-top: 2.5rem }
"""


def acceptance_sheet(box: Box, *, name: str, at: str, missing: int = 0) -> str:
    """Return the page.

    `name` is the seed file's, `at` the report's time, `missing` the file's rows that are not in the box.
    """
    left_out = f"<p><b>Rows of this file that could not be imported and are not listed below: {missing}.</b></p>"
    body = [
        "<h1>Display tokens: acceptance of a box</h1>",
        f"<p>{html_text(name)}, {len(box.tokens)} tokens, reported {html_text(at)}</p>",
        *([left_out] if missing else ()),
        '<div class="sum">',
        *(
            f"<div><b>{box.of(verdict)}</b>{verdict}</div>"
            for verdict in (TokenVerdict.ACCEPTED, TokenVerdict.REJECTED, TokenVerdict.UNTESTED)
        ),
        "</div>",
        *_clocks(box.offsets),
        "<h2>Tokens</h2>",
        f"<table><thead><tr>{HEAD}</tr></thead><tbody>",
        *(_row(token, seen) for token, seen in box.tokens),
        "</tbody></table>",
        '<p class="sign">Accepted by ______________________________ on ____________________</p>',
    ]
    return html_page(f"Tokens of {name}", body, style=STYLE)


def _row(token: Token, seen: Sighting | None) -> str:
    verdict = seen.verdict if seen else TokenVerdict.UNTESTED
    clock = _signed(seen.seconds) if seen and seen.seconds is not None else ""
    step = f", {token.period} s" if token.factor is Factor.TOTP else ""
    read = iso_time(seen.at) if seen else ""
    cells = (token.serial, f"{token.factor.upper()}, {token.digits} digits{step}", verdict)
    line = "".join(f"<td>{html_text(cell)}</td>" for cell in cells)
    why = html_text(seen.reason) if seen else ""
    reason = f'<tr class="reason {verdict}"><td class="why" colspan="5">{why}</td></tr>' if why else ""
    return f'<tr class="{verdict}">{line}<td class="n">{clock}</td><td>{read}</td></tr>{reason}'


def _clocks(offsets: Sequence[int]) -> Iterator[str]:
    """Chart how many tokens have each clock offset. A negative offset means that the clock is behind."""
    if not offsets:
        yield "<p>No clock was read.</p>"
        return
    yield "<h2>Clocks of the accepted tokens, seconds ahead (negative: behind)</h2>"
    bars = [Bar(_signed(middle), count, str(count)) for middle, count in histogram(offsets)]
    yield column_chart(bars, alt="distribution of clock offsets")


def _signed(seconds: int) -> str:
    return f"{seconds:+d}" if seconds else "0"
