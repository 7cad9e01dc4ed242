"""The options of commands that set a new PIN on a FIDO key."""

from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from mfa_kit import wiring
from mfa_kit.cli.key_options import WHICH_FIDO
from mfa_kit.cli.letter_options import PAPER
from mfa_kit.letters.sheet import Paper

P = ParamSpec("P")
R = TypeVar("R")

OPTIONS = (
    WHICH_FIDO,
    click.option(
        "--pin-stdin",
        is_flag=True,
        help="Read the PIN from stdin (for `change`: old, then new, one per line).",
    ),
    click.option(
        "--generate",
        is_flag=True,
        help="Generate a PIN of digits and show it once. With -r and -o, write it to an encrypted file instead.",
    ),
    click.option(
        "-r",
        "--recipient",
        "to",
        multiple=True,
        metavar="RECIPIENT",
        help="Encrypt the PIN to this age or SSH public key.",
    ),
    click.option(
        "-R",
        "--recipients-file",
        "to_files",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="File with recipients, one per line.",
    ),
    click.option(
        "-o", "--out", type=click.Path(path_type=Path), metavar="FILE", help="New file for the encrypted PIN."
    ),
    click.option(
        "--letter",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="With --generate: new PDF file for a letter with the PIN, unencrypted.",
    ),
    PAPER,
)


def new_pin_options(function: Callable[P, R]) -> Callable[P, R]:
    """Add the options in OPTIONS to the function of a command, and return the function."""
    for decorate in reversed(OPTIONS):
        function = decorate(function)
    return function


def letter_file(letter: Path | None, paper: str) -> "wiring.letters.LetterFile | None":
    """Return the file for a letter, or None if `letter` is None."""
    return wiring.letters.LetterFile(path=letter, paper=Paper(paper)) if letter else None
