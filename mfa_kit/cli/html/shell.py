"""The frame of every HTML page. A page has no external resources, and only the page of `--page` has a script."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from html import escape

from mfa_kit.core.text import one_line
from mfa_kit.core.timestamps import iso_time

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
# The CSS of every page. Text on a color is white in light mode and almost black in dark mode. Its contrast is at least
# 4.5 to 1 (WCAG 2).
STYLE = """
  :root { --ink: #1a1a1a; --soft: #595959; --line: #d5d5d5; --back: #fff; --code: #f4f4f4; --on: #fff }
  .bad { --tone: #8b0a1a } .warn { --tone: #b8400c } .mild { --tone: #8a6100 } .calm { --tone: #4a5a6a }
  .good { --tone: #1f6f8b } .fair { --tone: #2f7548 } .odd { --tone: #6b4fa0 } .off { --tone: #6b6b6b }
  @media screen and (prefers-color-scheme: dark) {
    :root { color-scheme: dark; --ink: #e8e8e8; --soft: #b4b4b4; --line: #44474d; --back: #16181c; --code: #23262c;
      --on: #111 }
    .bad { --tone: #ff9096 } .warn { --tone: #ffa070 } .mild { --tone: #e6bb55 } .calm { --tone: #aebfd0 }
    .good { --tone: #70c5e2 } .fair { --tone: #82d5a4 } .odd { --tone: #c8aef6 } .off { --tone: #adadad }
  }
  body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back); margin: 2rem auto;
    max-width: 62rem; padding: 0 1rem; overflow-wrap: break-word }
  h1 { font-size: 24px; line-height: 1.25; margin: 0 0 .4rem } h2 { font-size: 18px; margin: 2rem 0 .6rem }
  p { margin: .3rem 0 } .soft { color: var(--soft) } .lead { font-size: 17px; margin: 1rem 0 }
  table { border-collapse: collapse; width: 100% } thead { display: table-header-group } tr { break-inside: avoid }
  th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
  .n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
  time { white-space: nowrap } .long { overflow-wrap: anywhere }
  details { border: 1px solid var(--line); border-radius: 6px; margin: .6rem 0; padding: .5rem .9rem }
  summary { cursor: pointer; font-weight: 600 }
  pre { background: var(--code); padding: .5rem .7rem; margin: .3rem 0; white-space: pre-wrap; font-size: 13px }
  .mark { display: inline-block; padding: 0 .5rem; border-radius: 4px; color: var(--on); background: var(--tone);
    font-size: 13px; font-weight: 600; white-space: nowrap }
  .charts { display: flex; flex-wrap: wrap; gap: 0 2rem } figure { margin: 1rem 0; flex: 1 1 18rem }
  figcaption { font-weight: 600; margin-bottom: .4rem }
  .bars, .ring ul { list-style: none; margin: .6rem 0; padding: 0 }
  .bars { display: grid; grid: auto-flow dense / fit-content(50%) 1fr auto; gap: .5rem .7rem; align-items: center }
  .bars li { display: contents } .bars .n { grid-column: 3 } .bar { grid-column: 2 }
  .bar i { display: block; height: 1.1rem; min-width: 2px; background: var(--tone) }
  .ring { display: flex; flex-wrap: wrap; gap: 0 1.5rem; align-items: center }
  .ring li::before { content: ""; display: inline-block; width: 13px; height: 13px; margin-right: .5rem;
    background: var(--tone) }
  circle { fill: none; stroke: var(--tone) }
  @page { margin: 15mm }
  @media screen and (max-width: 40rem) {
    body { margin: 1rem auto } thead { display: none } tbody, tr, td { display: block }
    tr { border-bottom: 1px solid var(--line); padding: .5rem 0 } td { border: 0; padding: .1rem 0 }
    td:empty { display: none } td[data-head]::before { content: attr(data-head) ": "; color: var(--soft) }
    td.n { text-align: left }
    .bars { grid-template-columns: 1fr auto; row-gap: 0 } .bars .n { grid-column: 2 }
    .bar { grid-column: 1 / -1; margin-bottom: .5rem }
  }
  @media print {
    body { margin: 0; max-width: none; print-color-adjust: exact; -webkit-print-color-adjust: exact }
    summary, h2 { break-after: avoid } li, figure { break-inside: avoid }
    details::details-content { content-visibility: visible; block-size: auto }
  }
"""
# Words with more than LONGEST_WORD characters, such as ARNs, may be broken where AFTER matches.
LONGEST_WORD = 20
AFTER = re.compile(r"(?<=[/:@._=,-])(?=\w)")


class Tone(StrEnum):
    """A color, named by its meaning.

    Color-blind readers can tell the colors apart, and a word or sign always says the same as the color.
    """

    BAD = "bad"
    WARN = "warn"
    MILD = "mild"
    CALM = "calm"
    GOOD = "good"
    FAIR = "fair"
    ODD = "odd"
    OFF = "off"


def html_text(value: str) -> str:
    """Return untrusted text as HTML that displays it. Markup, control characters and line breaks are escaped."""
    return escape(one_line(value))


def html_words(value: str) -> str:
    """Return untrusted text as HTML that displays it. Long names can wrap after a separator, such as a slash."""

    def word(text: str) -> str:
        if len(text) <= LONGEST_WORD:
            return escape(text)
        return f'<span class="long">{"<wbr>".join(map(escape, AFTER.split(text)))}</span>'

    return " ".join(map(word, one_line(value).split(" ")))


def html_time(time: float) -> str:
    """Return a Unix time as HTML: in the time zone of this computer, and also in UTC if the two differ."""
    local_time = datetime.fromtimestamp(time, UTC).astimezone()
    utc_time = iso_time(time)
    if not local_time.utcoffset():
        return f"<time>{utc_time}</time>"
    return f"<time>{local_time:%Y-%m-%d %H:%M:%S %Z} (UTC{local_time.isoformat()[-6:]})</time>, <time>{utc_time}</time>"


def html_mark(word: str, tone: Tone) -> str:
    """Return a word on a colored background, as HTML."""
    return f'<span class="mark {tone}">{html_text(word)}</span>'


def html_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int] = ()) -> str:
    """Return a table as HTML. `heads` are plain text, and the cells of `rows` are HTML.

    `numbers` are the indexes of the columns to align on the right. On a narrow screen, each cell is a line that starts
    with the heading of its column.
    """
    right = set(numbers)

    def cell(column: int, value: str) -> str:
        return f'<td{" class=n" if column in right else ""} data-head="{html_text(heads[column])}">{value}</td>'

    head = "".join(
        f"<th{' class=n' if column in right else ''}>{html_text(heading)}</th>" for column, heading in enumerate(heads)
    )
    lines = "".join(f"<tr>{''.join(cell(column, value) for column, value in enumerate(row))}</tr>\n" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>\n{lines}</tbody></table>"


def html_page(title: str, body: Iterable[str], *, style: str = "", script: str = "", nonce: str = "") -> str:
    """Return an HTML page. `title` is plain text, `body` has lines of HTML, and `style` is additional CSS.

    Without a `nonce`, the page contains its Content Security Policy. With a `nonce`, `script` can run, and the server
    that sends the page must also send the policy.
    """
    policy = "" if nonce else f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
    mark = f' nonce="{nonce}"' if nonce else ""
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"{policy}<title>{html_text(title)}</title><style{mark}>{STYLE}{style}</style></head><body>",
        *body,
        *([f"<script{mark}>{script}</script>"] if script else []),
        "</body></html>",
    ]
    return "\n".join(lines) + "\n"
