"""Messages for the user as values: sentences, the commands that they suggest, and what they ask the user to do.

A message is also a str, in the words of the terminal, so it can be compared, stored and written as any text. Only the
code that prints it looks at its parts. A plain str is a message without commands.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from itertools import pairwise
from shlex import quote
from typing import Self

PROGRAM, AWS = "mfa-kit", "aws"


class UserAction(Enum):
    """What a message asks the user to do."""

    TOUCH = auto()
    FIRST_CODE = auto()
    SECOND_CODE = auto()
    END_WAIT = auto()
    PIN = auto()


class ShellText(str):
    """A word of a command that the shell interprets, such as `$USER` or `> FILE`. It is printed without quotes."""

    __slots__ = ()


class Command(str):
    """A command that a message suggests, as text for a shell. `arguments` are the program and its arguments."""

    __slots__ = ("arguments",)
    arguments: tuple[str, ...]

    def __new__(cls, arguments: Iterable[str] = ()) -> Self:
        """Return a command."""
        words = tuple(arguments)
        line = super().__new__(cls, " ".join(map(shell_word, words)))
        line.arguments = words
        return line

    def __reduce__(self) -> tuple[type[Self], tuple[tuple[str, ...]]]:
        """Copy the arguments, not the text."""
        return type(self), (self.arguments,)


def shell_word(word: str) -> str:
    """Return a word of a command as text for a shell."""
    return word if isinstance(word, ShellText) else quote(word)


def command(line: str, *arguments: str) -> Command:
    """Return a command of the words of `line`. Each word `{}` is replaced with one of the arguments, in their order.

    IAM allows names such as `--root`. So that no program takes an argument that begins with a dash for an option, it is
    written as `--option=ARGUMENT` where `{}` follows an option with two dashes, and otherwise after `--`, at the end.
    In `line`, a flag is therefore never directly before `{}`.

    Raise ValueError if the number of arguments is not that of the words `{}`.
    """
    if line.split().count("{}") != len(arguments):
        raise ValueError(f"{line!r} does not take {len(arguments)} arguments")
    words: list[str] = []
    operands: list[str] = []
    values = iter(arguments)
    for before, word in pairwise(["", *line.split()]):
        argument = next(values) if word == "{}" else word
        if word == "{}" and argument.startswith("-") and before.startswith("--"):
            words[-1] += f"={argument}"
        elif word == "{}" and (operands or argument.startswith("-")) and not before.startswith("-"):
            operands.append(argument)
        else:
            words.append(argument)
    return Command((*words, "--", *operands) if operands else words)


def mfa_kit(line: str, *arguments: str) -> Command:
    """Return a command of mfa-kit. The parameters are those of `command`, without the name of the program."""
    return command(f"{PROGRAM} {line}", *arguments)


class Wording(str):
    """Words for the terminal. The page of --page has other words for the `admin` and for the `colleague`."""

    __slots__ = ("admin", "colleague")
    admin: str
    colleague: str

    def __new__(cls, terminal: str, *, admin: str = "", colleague: str = "") -> Self:
        """Return words. The admin's words are also the colleague's, unless these are given."""
        wording = super().__new__(cls, terminal)
        wording.admin, wording.colleague = admin, colleague or admin
        return wording


class Message(str):
    """A message of sentences and commands, in their order.

    A command follows a sentence after a colon, unless the sentence ends with a space. Any other part follows a command
    after a semicolon. `action` is what the message asks the user to do.
    """

    __slots__ = ("action", "parts")
    parts: tuple[str, ...]
    action: UserAction | None

    def __new__(cls, *parts: str, action: UserAction | None = None) -> Self:
        """Return a message. A part that is a message itself adds its own parts."""
        flat = tuple(part for text in parts for part in parts_of(text) if part or isinstance(part, Wording))
        words = [*flat[:1]]
        for before, part in pairwise(flat):
            words.append(f"{separator(before, part)}{part}")
        message = super().__new__(cls, "".join(words))
        message.parts, message.action = flat, action
        return message

    @property
    def commands(self) -> tuple[Command, ...]:
        """The commands that the message suggests."""
        return tuple(part for part in self.parts if isinstance(part, Command))


def separator(before: str, part: str) -> str:
    """Return the characters between two parts of a message."""
    if isinstance(before, Command):
        return "; "
    return ": " if isinstance(part, Command) and before and not before.endswith(" ") else ""


def parts_of(text: str) -> tuple[str, ...]:
    """Return the parts of a message. A plain text or a command is its only part."""
    return text.parts if isinstance(text, Message) else (text,)


def action_of(text: str) -> UserAction | None:
    """Return what a message asks the user to do. A plain text asks for nothing."""
    return text.action if isinstance(text, Message) else None


def suggest(sentence: str, line: str, *arguments: str) -> Message:
    """Return a message that suggests a command of mfa-kit. The other parameters are those of `mfa_kit`."""
    return Message(sentence, mfa_kit(line, *arguments))


def fill(template: str, **parts: str | None) -> Message:
    """Return a message in which each placeholder of a template, such as `{user}`, is replaced with a part."""
    pieces = re.split(r"\{(\w+)\}", template)  # words, the name of a part, words, and so on
    pieces[1::2] = [parts[name] or "" for name in pieces[1::2]]
    return Message(*pieces)


def clauses(texts: Iterable[str]) -> Message:
    """Return one message of several, separated by semicolons. Empty ones are left out."""
    parts: list[str] = []
    for text in (text for text in texts if text):
        if parts and not isinstance(parts[-1], Command) and not isinstance(parts_of(text)[0], Command):
            parts.append("; ")
        parts.extend(parts_of(text))
    return Message(*parts)


class Running:
    """The command that runs, such as `mfa-kit rollout plan`, or "" if other code calls mfa-kit."""

    command = ""


@contextmanager
def running(command: str) -> Iterator[None]:
    """Let the hints of denied calls name the job of this command."""
    before, Running.command = Running.command, command
    try:
        yield
    finally:
        Running.command = before


ENTER = Wording("press Enter", admin="press Start")
STOP = Wording("press Ctrl-C", admin="press Stop", colleague="ask the admin to press Stop")
STOP_NOW = Wording("Press Ctrl-C again to stop immediately", admin="Please wait")
END_WAIT = Wording("press Ctrl-C to stop", admin="press Stop to end the wait")
