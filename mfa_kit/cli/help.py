"""`mfa-kit help`: show a page of the documentation, or find the pages and headings about some words."""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import Message, mfa_kit, suggest

# The largest width of a page in a terminal, and the number of headings that a search shows.
WIDEST, SHOWN = 100, 8
# Words that say nothing about a page, and the number of letters by which words are compared.
COMMON = {"a", "an", "and", "are", "do", "does", "for", "has", "how", "i", "in", "is", "it", "my", "of", "on", "or"}
COMMON |= {"the", "to", "we", "what", "when", "which", "who", "with", "without", "about", "have", "need", "needs"}
STEM = 5
# How much a word counts in the headings above a part of a page, in its own heading, and below it.
ABOVE, HEADING, BODY = 4, 6, 1
# The page for people to whom something happened.
FIRST = "what-now"
# A comment in a page has other words for its heading. The names of results, and the headings of the page of sources,
# count as text below a heading.
ALSO, RESULT, SOURCES = re.compile(r"^<!-- also: (.*) -->$", re.MULTILINE), "mfa-kit/", "sources"
FENCE, LINK = "```", re.compile(r"!?\[([^\]]*)\]\(([^)]*)\)")
PAGE = re.compile(r"([a-z0-9-]+)\.md(?:#(.*))?")
CELLS, ITEM = re.compile(r"(?<!\\)\|"), re.compile(r"\s*([-*]|\d+\.) ")


class Section(NamedTuple):
    """A part of a page: the page's name, the headings above the part, its heading, and the text below it."""

    page: str
    above: str
    heading: str
    text: str


@click.command("help", cls=Verb)
@click.argument("words", metavar="[TOPIC|WORDS]", nargs=-1)
def show_help(*, words: tuple[str, ...], output: Output) -> None:
    """Show the page TOPIC of the documentation, or find the headings about WORDS. Without either, list the pages.

    TOPIC is the name of a page, or PAGE/HEADING for a part of it.
    """
    pages = wiring.files.manual_pages()
    if len(words) == 1 and (page := find_topic(words[0], wiring.files.manual_pages(by_name=True))):
        columns = min(shutil.get_terminal_size().columns, WIDEST)
        text = "\n".join(render_page(page, columns)) + "\n"
        if sys.stdout.isatty() and text.count("\n") >= shutil.get_terminal_size().lines:
            click.echo_via_pager(text)
        else:
            output.text(text)
        return
    found = find_sections(words, pages) if words else list(_first_sections(pages))
    if not found:
        raise UsageFault(f"no page is about {' '.join(words)!a}", suggest("list the pages", "help"))
    rows = [{"topic": section.page, "heading": section.heading} for section in found]
    output.many("help", rows, empty="")
    # In a pipe, only the rows count.
    if sys.stdout.isatty():
        part, after = "or a part of it", mfa_kit("help TOPIC/HEADING")
        if not words:  # in a small window, the first page is no longer on the screen
            part, after = "if something happened, begin with", mfa_kit("help what-now")
        output.prose(Message("to read a page", mfa_kit("help TOPIC"), part, after))


def _first_sections(pages: Mapping[str, str]) -> Iterator[Section]:
    for name, text in pages.items():
        yield next(sections_of(name, text))


def find_topic(topic: str, pages: Mapping[str, str]) -> str | None:
    """Return the text of the page that a topic names, or of the part whose heading has the words after a slash.

    The part may also have these words as other words for its heading.
    """
    name, slash, words = topic.partition("/")
    page = pages.get(name.removesuffix(".md"))
    if page is None or not slash:
        return page
    parts, wanted = list(_split(page)), _anchor(words)
    named = [_anchor(heading) for _, heading, _ in parts]
    starts = [number for number, text in enumerate(named) if text == wanted]
    starts += [number for number, text in enumerate(named) if wanted in text]
    starts += [number for number, part in enumerate(parts) if wanted in _anchor(" ".join(ALSO.findall(part[2])))]
    if not starts:
        return None
    first, *others = parts[starts[0] :]
    inside = takewhile(lambda part: part[0] > first[0], others)
    return "\n".join(f"{'#' * (level - first[0] + 1)} {heading}\n{text}" for level, heading, text in (first, *inside))


def _anchor(heading: str) -> str:
    """Return the words by which a link names a heading."""
    return "-".join(re.sub(r"[^\w -]", "", heading.lower()).split(" "))


def sections_of(name: str, text: str) -> Iterator[Section]:
    """Yield the parts of a page in Markdown. The first one has the title as its heading."""
    above = list[str]()
    for level, heading, body in _split(text):
        above[level - 1 :] = [_plain(heading)]
        yield Section(name, " ".join(above[:-1] or above), above[-1] or name, body)


def _split(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the level, the heading and the text of each part of a page in Markdown."""
    heading, lines, fenced = "", list[str](), False
    for line in text.splitlines():
        fenced ^= line.lstrip().startswith(FENCE)
        if line.startswith("#") and not fenced:
            if heading:
                yield len(heading.partition(" ")[0]), heading.lstrip("# "), "\n".join(lines)
            heading, lines = line, []
        else:
            lines.append(line)
    yield len(heading.partition(" ")[0]), heading.lstrip("# "), "\n".join(lines)


def find_sections(words: Sequence[str], pages: Mapping[str, str]) -> list[Section]:
    """Return the parts of pages that are most about some words, the best first.

    A part with more of the words is better, then one in whose headings they are, then one of the page
    for people to whom something happened, then one with a shorter heading.
    """
    wanted = {word[:STEM] for word in _words(" ".join(words)) if word not in COMMON}
    scored = [
        (score, number, section)
        for number, section in enumerate(part for name, text in pages.items() for part in sections_of(name, text))
        if (score := _score(section, wanted))
    ]
    best = sorted(scored, key=_rank, reverse=True)
    most = best[0][0][0] if best else 0
    return [section for score, _, section in best if score[0] == most][:SHOWN]


def _rank(entry: tuple[tuple[int, int], int, Section]) -> tuple[tuple[int, int], bool, int, int]:
    score, number, section = entry
    return score, section.page == FIRST, -len(section.heading.split()), -number


def _score(section: Section, wanted: set[str]) -> tuple[int, int] | None:
    """Return how many of the words are in a part of a page, and how much they count there; None if there is none."""
    weights = dict.fromkeys(wanted, 0)
    also = " ".join(ALSO.findall(section.text))
    heading = BODY if section.page == SOURCES or section.heading.startswith(RESULT) else HEADING
    for text, weight in ((section.above, ABOVE), (f"{section.heading} {also}", heading), (section.text, BODY)):
        for word in {word[:STEM] for word in _words(text)} & wanted:
            weights[word] += weight
    total = sum(weights.values())
    return (sum(map(bool, weights.values())), total) if total else None


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _plain(text: str) -> str:
    """Return Markdown text without the marks of links, code and emphasis.

    The address of an external link stays, and a link to another page names the command that shows it.
    """
    named = LINK.sub(_name_target, text)
    return named.replace("`", "").replace("**", "").replace("\\|", "|")


def _name_target(link: re.Match[str]) -> str:
    words, target = link.groups()
    page = PAGE.fullmatch(target)
    if page and page[1] not in wiring.files.NOT_SHOWN:
        return f"{words} (help {'/'.join(filter(None, page.groups()))})"
    return f"{words} ({target})" if ":" in target else words


def render_page(text: str, columns: int) -> Iterator[str]:
    """Yield the lines of a page for a terminal with this number of columns.

    A row of a table becomes a paragraph, because most tables are wider than a terminal. Code is never wrapped.
    """
    code, head = False, list[str]()
    for block in _blocks(text):
        if block.lstrip().startswith(FENCE):
            code = not code
        elif code:
            yield f"    {block}"
        elif block.startswith("|"):
            cells = [_plain(cell.strip()) for cell in CELLS.split(block.strip().strip("|"))]
            if head and set("".join(cells)) - set("-: "):
                yield from _render_row(head, cells, columns)
            head = head or cells
        else:
            head = []
            yield from _render_block(block, columns)


def _blocks(text: str) -> Iterator[str]:
    """Yield the lines of a page. The lines of a paragraph, or of an item of a list, are one. Comments are left out."""
    paragraph, code = list[str](), False
    for line in re.sub(r"^<!--.*\n\n?", "", text, flags=re.MULTILINE).splitlines():
        alone = code or not line or line.lstrip().startswith((FENCE, "|", "#"))
        code ^= line.lstrip().startswith(FENCE)
        if alone or ITEM.match(line):
            yield from [" ".join(paragraph)] * bool(paragraph)
            paragraph = []
        if alone:
            yield line
        else:
            paragraph.append(line.strip() if paragraph else line)
    yield from [" ".join(paragraph)] * bool(paragraph)


def _render_row(head: Sequence[str], cells: Sequence[str], columns: int) -> Iterator[str]:
    """Yield the lines of a row of a table: the first cell, then the others. If there are two, each has its head."""
    first, *others = cells
    yield from textwrap.wrap(first, columns, subsequent_indent="  ")
    for name, cell in zip(head[1:], others, strict=False):
        named = f"{name}: {cell}" if others[1:] else cell
        if cell:
            yield from textwrap.wrap(named, columns, initial_indent="    ", subsequent_indent="      ")


def _render_block(block: str, columns: int) -> Iterator[str]:
    """Yield the lines of a heading, an item of a list or a paragraph."""
    if block.startswith("#"):
        heading = textwrap.wrap(_plain(block.lstrip("# ")), columns)
        yield from (*heading, ("=" if block.startswith("# ") else "-") * max(map(len, heading)))
        return
    item = ITEM.match(block)
    indent = " " * len(item[0]) if item else ""
    yield from textwrap.wrap(_plain(block), columns, subsequent_indent=indent, break_on_hyphens=False) or [""]
