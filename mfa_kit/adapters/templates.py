"""Fills in the HTML templates in cli/html with Jinja2.

A text that a template prints is escaped, and its control characters and line breaks are shown as text. A name that is
not defined is an error. The error names the template and the line, and nothing of what the template was filled with.
"""

import html
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from mfa_kit.core.errors import only_our_errors
from mfa_kit.core.notes import Note
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import count_of, few, iso_time, one_line, readable_time, with_readable_times

# Words with more than LONGEST_WORD characters, such as ARNs, may be broken where AFTER matches.
LONGEST_WORD = 20
AFTER = re.compile(r"(?<=[/:@._=,-])(?=\w)")


def render(template: str, **values: object) -> str:
    """Return the page of a template, such as `audit.html`. Raise InternalError if a name is not defined."""
    with _failures_in(template):
        return TEMPLATES.get_template(template).render(values)


def render_blocks(template: str, names: Iterable[str], **values: object) -> dict[str, str]:
    """Return blocks of a template by their names. Raise InternalError if a name is not defined."""
    with _failures_in(template):
        loaded = TEMPLATES.get_template(template)
        context = loaded.new_context(values)
        return {name: "".join(loaded.blocks[name](context)).strip() for name in names}


@contextmanager
def _failures_in(template: str) -> Iterator[None]:
    with only_our_errors():
        try:
            yield
        except Exception as error:
            error.add_note(Note(f"it happened in the template {template}"))
            raise


def html_text(text: str) -> Markup:
    """Return text as HTML in one line."""
    return escape(one_line(with_readable_times(text)))


def html_words(text: object) -> Markup:
    """Return text as HTML in which long names can wrap after a separator, such as a slash. HTML stays as it is."""
    return text if isinstance(text, Markup) else _words(str(text))


@lru_cache(maxsize=256)  # letters share most texts
def _words(text: str) -> Markup:
    return Markup(" ".join(map(_word, one_line(with_readable_times(text)).split(" "))))  # noqa: S704 - `_word` escapes


def _word(text: str) -> str:
    parts = [text] if len(text) <= LONGEST_WORD else AFTER.split(text)
    word = "<wbr>".join(map(html.escape, parts))
    return word if len(text) <= LONGEST_WORD else f'<span class="long">{word}</span>'


def html_time(time: float) -> Markup:
    """Return a Unix time as HTML: in the time zone of this computer, and also in UTC if the two differ."""
    utc_time = datetime.fromtimestamp(time, UTC)
    local_time = utc_time.astimezone()
    utc = Markup('<time datetime="{}">{}</time>').format(iso_time(time), readable_time(utc_time))
    if not local_time.utcoffset():
        return utc
    local = readable_time(local_time, f"{local_time:%Z} (UTC{local_time.isoformat()[-6:]})")
    return Markup("<time>{}</time>, {}").format(local, utc)


def _shown(content: object) -> object:
    """Return what a template prints. Raise TypeError for a secret, which only a listed function may reveal."""
    if isinstance(content, Secret):
        raise TypeError("a template cannot print a secret")
    return one_line(content) if isinstance(content, str) and not isinstance(content, Markup) else content


TEMPLATES = Environment(
    loader=PackageLoader("mfa_kit", "cli/html"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    extensions=["jinja2.ext.do"],
    auto_reload=False,
    trim_blocks=True,
    lstrip_blocks=True,
)
TEMPLATES.filters |= {"count_of": count_of, "few": few, "text": html_text, "time": html_time, "words": html_words}
