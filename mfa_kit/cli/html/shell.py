"""The frame of every HTML page: a single file without scripts or external resources, also suited to printing."""

from collections.abc import Iterable
from html import escape

from mfa_kit.core.text import one_line

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
STYLE = """
  body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 2rem auto; max-width: 62rem;
    padding: 0 1rem }
  h1 { font-size: 24px; margin: 0 0 .2rem } h2 { font-size: 18px; margin: 2rem 0 .6rem } p { margin: .3rem 0 }
  table { border-collapse: collapse; width: 100% } thead { display: table-header-group } tr { break-inside: avoid }
  th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid #d5d5d5; vertical-align: top }
  .n { text-align: right } summary { cursor: pointer }
  svg { max-width: 100%; height: auto } svg text { font: 13px system-ui, sans-serif; fill: #1a1a1a }
  @page { margin: 15mm }
  @media print {
    body { margin: 0; max-width: none; print-color-adjust: exact; -webkit-print-color-adjust: exact }
  }
"""


def html_text(value: str) -> str:
    """Return untrusted text as HTML that shows it. Markup, control characters and line breaks are escaped."""
    return escape(one_line(value))


def html_page(title: str, body: Iterable[str], *, style: str = "") -> str:
    """Return a page that ends with a line break. `title` is text, `body` lines of HTML, and `style` more CSS."""
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>{html_text(title)}</title><style>{STYLE}{style}</style></head><body>",
        *body,
        "</body></html>",
    ]
    return "\n".join(lines) + "\n"
