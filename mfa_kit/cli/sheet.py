"""A box of tokens as one HTML page to print: no script, no style, no picture from elsewhere, and no seed."""

from collections.abc import Iterator, Sequence
from html import escape

from mfa_kit.cli.options import written
from mfa_kit.tokens.matching import Box, histogram
from mfa_kit.tokens.seeds import Factor, Sighting, Token, Verdict

WIDE, HIGH, FOOT, BAR = 720, 180, 40, 80
HEAD = '<th>Serial</th><th>Type</th><th>Verdict</th><th class="n">Clock, s</th><th>Read</th>'
STYLE = """
  body { font: 14px/1.4 system-ui, sans-serif; color: #111; margin: 2rem; max-width: 60rem }
  h1 { font-size: 20px; margin: 0 0 .2rem } h2 { font-size: 16px; margin: 1.5rem 0 .5rem }
  p { margin: .2rem 0 } .sum { display: flex; gap: 2.5rem; margin: 1rem 0 } .sum b { display: block; font-size: 26px }
  table { border-collapse: collapse; width: 100% } thead { display: table-header-group }
  th, td { text-align: left; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid #ccc; vertical-align: top }
  td, th { white-space: nowrap } td.why { white-space: normal; overflow-wrap: anywhere; padding-left: 1.5rem }
  tr:has(+ .reason) td { border-bottom: 0 } .reason { break-before: avoid }
  td.n, th.n { text-align: right } tr { break-inside: avoid } svg { max-width: 100%; height: auto }
  .rejected td { font-weight: bold } .untested td { color: #666 } .sign { margin-top: 2.5rem }
  @page { margin: 15mm } @media print { body { margin: 0; max-width: none } }
"""


def page(box: Box, *, name: str, at: str, missing: int = 0) -> str:
    """Return the page; name is the seed file's, at the time of the report, missing its rows that are in no box."""
    offsets = box.offsets
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>Tokens of {escape(name)}</title><style>{STYLE}</style></head><body>",
        "<h1>Display tokens: acceptance of a box</h1>",
        f"<p>{escape(name)}, {len(box.tokens)} tokens, reported {escape(at)}</p>",
        *(
            [f"<p><b>Rows of this file that could not be taken, and are not below: {missing}.</b></p>"]
            if missing
            else ()
        ),
        '<div class="sum">',
        *(
            f"<div><b>{box.of(verdict)}</b>{verdict}</div>"
            for verdict in (Verdict.ACCEPTED, Verdict.REJECTED, Verdict.UNTESTED)
        ),
        "</div>",
        *(_plot(offsets) if offsets else ["<p>No clock was read.</p>"]),
        "<h2>Tokens</h2>",
        f"<table><thead><tr>{HEAD}</tr></thead><tbody>",
        *(_row(token, seen) for token, seen in box.tokens),
        "</tbody></table>",
        '<p class="sign">Accepted by ______________________________ on ____________________</p>',
        "</body></html>",
    ]
    return "\n".join(lines) + "\n"


def _row(token: Token, seen: Sighting | None) -> str:
    verdict = seen.verdict if seen else Verdict.UNTESTED
    clock = _signed(seen.seconds) if seen and seen.seconds is not None else ""
    step = f", {token.period} s" if token.factor is Factor.TOTP else ""
    read = written(seen.at) if seen else ""
    cells = (token.serial, f"{token.factor.upper()}, {token.digits} digits{step}", verdict)
    line = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    why = escape(seen.reason) if seen else ""
    reason = f'<tr class="reason {verdict}"><td class="why" colspan="5">{why}</td></tr>' if why else ""
    return f'<tr class="{verdict}">{line}<td class="n">{clock}</td><td>{read}</td></tr>{reason}'


def _plot(offsets: Sequence[int]) -> Iterator[str]:
    """Yield the distribution of the clocks: how many tokens are how far ahead, negative behind."""
    bars = histogram(offsets)
    most = max(count for _, count in bars)
    room, marked = min(BAR, WIDE / len(bars)), max(1, len(bars) // 12)
    yield "<h2>Clocks of the accepted tokens, seconds ahead (negative: behind)</h2>"
    yield f'<svg viewBox="0 0 {WIDE} {HIGH + FOOT}" role="img" aria-label="distribution of clock offsets">'
    yield f'<line x1="0" y1="{HIGH}" x2="{WIDE}" y2="{HIGH}" stroke="#111"/>'
    for at, (middle, count) in enumerate(bars):
        high = (HIGH - 20) * count / most
        x = at * room
        if count:
            yield (
                f'<rect x="{x + room * 0.1:.1f}" y="{HIGH - high:.1f}" width="{room * 0.8:.1f}" height="{high:.1f}"'
                f' fill="#456"/><text x="{x + room / 2:.1f}" y="{HIGH - high - 4:.1f}" font-size="12"'
                f' text-anchor="middle">{count}</text>'
            )
        if at % marked == 0:
            place = f'x="{x + room / 2:.1f}" y="{HIGH + 16}"'
            yield f'<text {place} font-size="12" text-anchor="middle">{_signed(middle)}</text>'
    yield "</svg>"


def _signed(seconds: int) -> str:
    return f"{seconds:+d}" if seconds else "0"
