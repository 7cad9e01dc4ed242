"""A heat map: a table with a row for each subject and a narrow column for each check.

The table scrolls in its own box, and the headings of its rows and columns stay in view. A page may have tens of
thousands of cells, so end tags that HTML does not require are left out.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mfa_kit.cli.html.shell import Tone, html_text

# Matches the values of HTML attributes that need no quotes. Without quotes, a page of 1,000 accounts is 30 KB smaller.
PLAIN = re.compile(r"[a-z.-]+")
# The CSS of a heat map. Gaps separate the cells, because collapsed borders would not move with the sticky headings.
STYLE = """
  .map { overflow: auto; max-height: 90vh; margin: .6rem 0; font-size: 13px; line-height: 20px }
  .map table { width: auto; border-spacing: 1px; border-collapse: separate }
  .map th, .map td { border: 0 solid var(--back); padding: 0 3px; vertical-align: middle; min-width: 17px }
  .map td { text-align: center; font-variant-numeric: tabular-nums }
  .map td:empty::after { content: "·" }
  .map td[class] { background: var(--tone); color: var(--on); font-weight: 600 }
  .map th { background: var(--back); position: sticky; left: 0; font-weight: 400; z-index: 1; min-width: 8rem }
  .map thead th { top: 0; left: auto; vertical-align: bottom; min-width: 0 }
  .map thead th:has(b) { padding: 3px 0 } .map thead th:first-child { left: 0; z-index: 2 }
  .map b { writing-mode: sideways-lr; font-weight: 400; white-space: nowrap; line-height: 23px; display: block }
  @supports not (writing-mode: sideways-lr) { .map b { writing-mode: vertical-rl; transform: rotate(180deg) } }
  .map tr:hover th, .map thead th:hover { background: var(--code) } .map td:hover { outline: 2px solid var(--ink) }
  @media screen and (max-width: 40rem) {
    .map thead { display: table-header-group } .map tbody { display: table-row-group }
    .map tr { display: table-row } .map td { display: table-cell }
  }
  @media print { .map { overflow: visible; max-height: none } .map th { position: static } }
"""


class MapColumn(NamedTuple):
    """A column of a heat map: its name, and a title that explains it.

    The name is printed upward unless the column is `wide`. A column that `starts` a group has space before it.
    """

    name: str
    title: str = ""
    starts: bool = False
    wide: bool = False


def map_style(columns: Sequence[MapColumn]) -> str:
    """Return the CSS of a heat map with these columns."""
    starts = ",".join(f".map :nth-child({position})" for position, column in enumerate(columns, 2) if column.starts)
    return f"{STYLE}{starts} {{ border-left-width: 7px }}\n" if starts else STYLE


def map_cell(sign: str = "", *, tone: Tone | None = None, title: str = "") -> str:
    """Return a cell with a sign or a number, as HTML.

    A cell without a sign shows a dot. A cell with a `tone` has a colored background. `title` is shown when the
    pointer is over the cell.
    """
    color = f" class={tone}" if tone else ""
    value = title if PLAIN.fullmatch(title) else f'"{html_text(title)}"'
    attribute = f" title={value}" if title else ""
    return f"<td{color}{attribute}>{html_text(sign)}"


def heat_map(subject: str, columns: Sequence[MapColumn], rows: Iterable[tuple[str, Iterable[str]]]) -> str:
    """Return a heat map, as HTML. `subject` is the heading of the row headings, such as "Account".

    Each item of `rows` is a heading, as HTML, and the row's cells, made with `map_cell`.
    """

    def column_head(column: MapColumn) -> str:
        name = html_text(column.name)
        return f'<th scope=col title="{html_text(column.title)}">{name if column.wide else f"<b>{name}</b>"}'

    heads = "".join(map(column_head, columns))
    lines = "\n".join(f"<tr><th scope=row>{head}{''.join(cells)}" for head, cells in rows)
    # With tabindex, the box can get the focus and be scrolled with the keyboard.
    return (
        f'<div class="map" tabindex="0"><table><thead><tr><th scope=col>{html_text(subject)}{heads}</thead>'
        f"<tbody>\n{lines}\n</tbody></table></div>"
    )
