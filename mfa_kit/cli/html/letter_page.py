"""A letter as an HTML page, which can be mailed and printed."""

from collections.abc import Iterator
from functools import lru_cache

from mfa_kit.cli.html.shell import html_page, html_text, html_words
from mfa_kit.core.letter import Letter, LetterSection

STYLE = """
  body { max-width: 42rem } th { white-space: nowrap; font-weight: 600; width: 1% }
  ol { padding-left: 1.6rem } li { margin: .5rem 0 } pre { break-inside: avoid }
"""


def letter_page(letter: Letter) -> str:
    """Return the HTML page of a letter."""
    return html_page(letter.title, _body(letter), style=STYLE)


def _body(letter: Letter) -> Iterator[str]:
    yield f"<h1>{_text(letter.title)}</h1>"
    yield from (f"<p>{_text(paragraph)}</p>" for paragraph in letter.paragraphs)
    if letter.facts:
        rows = "".join(
            f'<tr><th scope="row">{_text(label)}</th><td>{html_words(value)}</td></tr>\n'
            for label, value in letter.facts
        )
        yield f"<table><tbody>\n{rows}</tbody></table>"
    for section in letter.sections:
        yield from _section(section)


def _section(section: LetterSection) -> Iterator[str]:
    yield f"<h2>{_text(section.title)}</h2>"
    yield from (f"<p>{_text(paragraph)}</p>" for paragraph in section.paragraphs)
    if section.steps:
        yield "<ol>"
        for step in section.steps:
            commands = "\n".join(map(html_text, step.commands))
            yield f"<li>{_text(step.text)}{f'<pre>{commands}</pre>' if commands else ''}</li>"
        yield "</ol>"


@lru_cache(maxsize=256)
def _text(text: str) -> str:
    """Return text as HTML. Results are cached, because letters share most texts."""
    return html_words(text)
