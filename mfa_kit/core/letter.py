"""The content of a letter to a user, without a layout, and the templates of letters.

Text, HTML and PDF letters are made from the same value. docs/formats.md, "Letter templates", describes the format of a
template. A template is parsed once. Its errors are found before the first letter is made.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from string import Template
from typing import Final

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.text import count_of


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterStep:
    """One thing for the reader to do. `commands` are lines to type, to be shown in a fixed-width font."""

    text: str
    commands: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterSection:
    """A part of a letter: its title, then its paragraphs, then its steps, which are numbered from 1."""

    title: str
    paragraphs: tuple[str, ...] = ()
    steps: tuple[LetterStep, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A letter to one user. It contains no secret.

    `facts` are pairs of a label and a value, such as `("Device", "alice")`, to be shown as a table after the
    `paragraphs` at the beginning. All texts are plain text without line breaks. They may contain any characters,
    because names come from other systems.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    sections: tuple[LetterSection, ...] = ()


# Matches the condition at the beginning of a line: the name of a value, or `no` and the name, in brackets.
CONDITION = re.compile(r"\[(?P<no>no )?(?P<name>[^\]]+)\]\s*")
STEP = re.compile(r"\d+[.)]\s+")
FACT = re.compile(r"\*\s+(?P<label>[^:]+):\s*(?P<value>.*)")
INDENTED = re.compile(r" {4}|\t")


class Kind(Enum):
    """The kind of a line in a template. BREAK is an empty line."""

    TITLE = auto()
    SECTION = auto()
    FACT = auto()
    STEP = auto()
    COMMAND = auto()
    TEXT = auto()
    BREAK = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line:
    """A line of a template. `text` may contain placeholders; `fixed` means that it has none.

    `only_if` is the name of the value in the line's condition, or "" without a condition. The line is left out if that
    value is empty; if `negated` is true, it is left out if the value is not empty. In a line `* LABEL: VALUE` (a fact),
    `label` is the part before the colon.
    """

    kind: Kind
    text: Template
    fixed: bool
    label: str = ""
    only_if: str = ""
    negated: bool = False

    def fill(self, values: Mapping[str, str]) -> str:
        """Return the text with the values in place of the placeholders."""
        return self.text.template.replace("$$", "$") if self.fixed else self.text.substitute(values)

    def applies(self, values: Mapping[str, str]) -> bool:
        """Return whether the line is in a letter with these values."""
        return not self.only_if or bool(values[self.only_if]) is not self.negated


_BREAK: Final = _Line(kind=Kind.BREAK, text=Template(""), fixed=True)


@dataclass(frozen=True, slots=True)
class LetterTemplate:
    """A parsed template."""

    lines: Sequence[_Line]

    def fill(self, values: Mapping[str, str]) -> Letter:
        """Return the letter for one user. `values` has a value for each name that was given to `parse_template`."""
        letter = _Draft()
        for line in self._chosen(values):
            letter.add(line.kind, line.fill(values), line.label)
        return letter.finish()

    def _chosen(self, values: Mapping[str, str]) -> Iterator[_Line]:
        """Yield the lines whose condition is met.

        If the condition of a section's title is not met, leave out the section. If the condition of a step is not met,
        leave out its commands and the lines that continue its text.
        """
        in_section = in_step = True
        for line in self.lines:
            applies = line.applies(values)
            if line.kind is Kind.SECTION:
                in_section = in_step = applies
            elif line.kind is Kind.STEP:
                in_step = applies
            if in_section and applies and (in_step or line.kind not in {Kind.COMMAND, Kind.TEXT}):
                yield line


class _Draft:
    """A letter that is built line by line."""

    def __init__(self) -> None:
        self._title = ""
        self._facts: list[tuple[str, str]] = []
        self._sections: list[tuple[str, list[str], list[tuple[str, list[str]]]]] = [("", [], [])]
        self._open = False

    def add(self, kind: Kind, text: str, label: str) -> None:
        """Add a line. A command belongs to the last step of its section. Leave out a command without such a step."""
        _, _, steps = self._sections[-1]
        match kind:
            case Kind.TITLE:
                self._title = text
            case Kind.SECTION:
                self._sections.append((text, [], []))
            case Kind.FACT:
                self._facts.append((label, text))
            case Kind.STEP:
                steps.append((text, []))
            case Kind.COMMAND if steps:
                steps[-1][1].append(text)
            case Kind.TEXT:
                self._add_text(text)
            case _:
                pass
        self._open = kind in {Kind.TEXT, Kind.STEP}

    def _add_text(self, text: str) -> None:
        """Continue the paragraph or the step of the line before, or begin a paragraph."""
        _, paragraphs, steps = self._sections[-1]
        if self._open and steps:
            steps[-1] = (f"{steps[-1][0]} {text}", steps[-1][1])
        elif self._open and paragraphs:
            paragraphs[-1] = f"{paragraphs[-1]} {text}"
        else:
            paragraphs.append(text)

    def finish(self) -> Letter:
        """Return the letter."""
        (_, first, _), *others = self._sections
        return Letter(
            title=self._title,
            paragraphs=tuple(first),
            facts=tuple(self._facts),
            sections=tuple(
                LetterSection(
                    title=title,
                    paragraphs=tuple(paragraphs),
                    steps=tuple(LetterStep(text=text, commands=tuple(commands)) for text, commands in steps),
                )
                for title, paragraphs, steps in others
            ),
        )


def fill_template(text: str, values: Mapping[str, str]) -> Letter:
    """Return the letter of a template of the package. The template may use only the names in `values`."""
    return parse_template(text, names=tuple(values), source="of mfa-kit").fill(values)


def parse_template(text: str, *, names: Sequence[str], source: str) -> LetterTemplate:
    """Parse a template whose placeholders and conditions may use these names.

    Raise UsageFault with a note for each error. The note gives the number of the line. `source` is the file's name, for
    the message.
    """
    lines: list[_Line] = []
    faults: list[str] = []
    for number, raw in enumerate(text.splitlines(), 1):
        try:
            lines.append(_parse_line(raw, lines, names))
        except ValueError as error:
            faults.append(f"line {number}: {error}")
    if not faults and sum(line.kind is Kind.TITLE for line in lines) != 1:
        faults.append("line 1: a template has exactly one title, a line that begins with '# '")
    if faults:
        refused = UsageFault(
            f"the template {source} has {count_of(len(faults), 'error')}",
            f"correct these lines; the placeholders are {', '.join(f'${name}' for name in names)}",
        )
        for fault in faults:
            refused.add_note(fault)
        raise refused
    return LetterTemplate(lines)


def _parse_line(raw: str, before: list[_Line], names: Sequence[str]) -> _Line:
    """Parse a line of a template. Raise ValueError with a sentence that says what is wrong with the line."""
    if not raw.strip():
        return _BREAK
    has_steps = any(line.kind is Kind.STEP for line in _section(before))
    if INDENTED.match(raw):
        if not has_steps:
            raise ValueError("an indented line is a command, and there is no step above it")
        return _line(Kind.COMMAND, raw.strip(), names)
    only_if, negated, remainder = _condition(raw)
    if only_if and only_if not in names:
        raise ValueError(f"[{only_if}] is not a condition")
    kind, text, label = _kind_of(remainder.strip(), before)
    if kind is Kind.TEXT and has_steps and before[-1] is _BREAK:
        raise ValueError("a paragraph has to be above the steps of its section")
    return _line(kind, text, names, label=label, only_if=only_if, negated=negated)


def _condition(raw: str) -> tuple[str, bool, str]:
    """Return the name in the condition of a line, whether it is negated, and the rest of the line.

    If the line has no condition, the name is "".
    """
    match = CONDITION.match(raw)
    return (match["name"], bool(match["no"]), raw[match.end() :]) if match else ("", False, raw)


def _section(before: Sequence[_Line]) -> Iterator[_Line]:
    """Yield the lines of the current section backward, from the last one to the first one."""
    for line in reversed(before):
        if line.kind is Kind.SECTION:
            return
        yield line


def _kind_of(text: str, before: Sequence[_Line]) -> tuple[Kind, str, str]:
    """Return the kind of a line that is not a command, its text, and its label ("" unless the line is a fact)."""
    in_section = any(line.kind is Kind.SECTION for line in before)
    if text.startswith("## "):
        return Kind.SECTION, text[3:].strip(), ""
    if text.startswith("# "):
        return Kind.TITLE, text[2:].strip(), ""
    if step := STEP.match(text):
        if not in_section:
            raise ValueError("a step has to be in a section, below a line that begins with '## '")
        return Kind.STEP, text[step.end() :], ""
    if fact := FACT.fullmatch(text):
        if in_section:
            raise ValueError("a line that begins with '* ' has to be above the first section")
        return Kind.FACT, fact["value"], fact["label"].strip()
    return Kind.TEXT, text, ""


def _line(
    kind: Kind, text: str, names: Sequence[str], *, label: str = "", only_if: str = "", negated: bool = False
) -> _Line:
    """Make a _Line. Raise ValueError if the text has an unknown placeholder, or a `$` without a name."""
    template = Template(text)
    if not template.is_valid():
        raise ValueError("a $ without the name of a placeholder; write $$ for a $")
    used = template.get_identifiers()
    if unknown := [name for name in used if name not in names]:
        raise ValueError(f"${unknown[0]} is not a placeholder")
    return _Line(kind=kind, text=template, fixed=not used, label=label, only_if=only_if, negated=negated)
