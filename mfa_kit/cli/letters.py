"""A letter as plain text, and as an HTML page, which can be mailed and printed; and the option for its paper."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.core.message import suggest
from mfa_kit.core.text import one_line
from mfa_kit.letters.sheet import Paper

if TYPE_CHECKING:
    from mfa_kit.core.letter import Letter, LetterSection
    from mfa_kit.wiring.settings import Settings

WIDTH = 76
COMMAND = " " * 6


def sender_values(settings: Settings, deadline: str | None) -> dict[str, str]:
    """Return the values of letters to users that are the same for all, or "" for those without a value.

    These are `company`, `contact`, `help_page` and `deadline`. Print a warning if the configuration has no company or
    no contact.
    """
    values = {"company": settings.config.company or "", "contact": settings.config.contact or ""}
    if missing := [name for name, text in values.items() if not text]:
        what = f"warning: the letters will name no {' and no '.join(missing)}, because the configuration has none"
        settings.progress.alert(suggest(f"{what}; this command names its file", "config path"))
    return {**values, "help_page": settings.config.help_page or "", "deadline": deadline or ""}


def letter_page(letter: Letter) -> str:
    """Return the HTML page of a letter."""
    return wiring.files.html_page("letter.html", letter=letter)


def letter_text(letter: Letter) -> str:
    """Return a letter as text, wrapped at 76 columns. Titles, facts, commands and long words are not broken."""
    blocks = [
        _underlined(letter.title, "="),
        *(_wrapped(paragraph) for paragraph in letter.paragraphs),
        *(["\n".join(_facts(letter))] if letter.facts else []),
        *(block for section in letter.sections for block in _section(section)),
    ]
    return "\n\n".join(blocks) + "\n"


def _section(section: LetterSection) -> Iterator[str]:
    yield _underlined(section.title, "-")
    yield from (_wrapped(paragraph) for paragraph in section.paragraphs)
    steps = [
        "\n".join([_wrapped(step.text, f"{number:>2}. "), *(COMMAND + one_line(command) for command in step.commands)])
        for number, step in enumerate(section.steps, 1)
    ]
    if steps:
        yield "\n".join(steps)


def _facts(letter: Letter) -> Iterator[str]:
    width = max(len(label) for label, _ in letter.facts) + 3
    return (f"{one_line(label) + ':':<{width}}{one_line(value)}" for label, value in letter.facts)


@lru_cache(maxsize=256)
def _underlined(title: str, mark: str) -> str:
    text = one_line(title)
    return f"{text}\n{mark * min(len(text), WIDTH)}"


@lru_cache(maxsize=256)
def _wrapped(text: str, start: str = "") -> str:
    """Return a paragraph whose first line begins with `start`. Results are cached, because letters share most texts."""
    lines = textwrap.wrap(
        one_line(text),
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines)


PAPER = click.option(
    "--paper",
    type=click.Choice([str(paper) for paper in Paper]),
    default="a4",
    show_default=True,
    callback=lambda _ctx, _param, value: Paper(value),
    help="Paper size of letters.",
)


# The forms of a letter: the name of each file, and the function that makes its content. handover.csv has the path of
# the first file.
FORMS: Mapping[str, Callable[[Letter], str]] = {"letter.html": letter_page, "letter.txt": letter_text}
PDF = "letter.pdf"
