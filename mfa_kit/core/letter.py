"""The content of a letter to a user, without a layout. Text, HTML and PDF letters are made from the same value."""

from dataclasses import dataclass


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
