"""The options of commands that read a seed file or codes from a display, and the messages about rejected rows."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.value_types import Age
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Progress
from mfa_kit.tokens.seeds import DroppedRow, Encoding

P = ParamSpec("P")
R = TypeVar("R")

FILE = click.Path(path_type=Path, dir_okay=False)
# The maximum number of steps of 30 s to search: two months. A token whose clock is off by more than that is broken.
MOST_STEPS = 175_200
# The number of characters of the longest duration that is accepted.
LONGEST = len("5256000s")


class Steps(click.ParamType[int]):
    """A parameter type: a number of TOTP time steps, or a duration that is converted to steps of 30 s."""

    name = "steps"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number of steps. Raise UsageFault if the text is not a number or a duration.

        Raise click.BadParameter if the number is larger than MOST_STEPS, or if the text is longer than LONGEST.
        """
        if isinstance(value, int):
            return value
        if len(value) > LONGEST:
            self.fail(f"write at most {MOST_STEPS} steps, such as 20, 12h or 2d", param, ctx)
        try:
            steps = int(value) if value.isdecimal() else int(Age().convert(value, param, ctx)) // 30
        except UsageFault as fault:
            raise UsageFault(str(fault), "write a number of steps, such as 20, or a time: 12h or 2d") from None
        if not 0 <= steps <= MOST_STEPS:
            self.fail(f"{value} is more than {MOST_STEPS} steps", param, ctx)
        return steps


SEED_FILE_OPTIONS = (
    click.option(
        "--seed-encoding",
        "encoding",
        type=click.Choice([Encoding.HEX.value, Encoding.BASE32.value]),
        callback=lambda _ctx, _param, value: Encoding(value) if value else None,
        help="Encoding of the seeds, if the file does not show it.",
    ),
    click.option("--unlock-stdin", is_flag=True, help="Read the file's passphrase or pre-shared key from stdin."),
    click.option(
        "--unlock-fd",
        type=click.IntRange(min=0),
        metavar="N",
        help="Read the passphrase or key from this file descriptor.",
    ),
)
WINDOW = click.option(
    "--window",
    type=Steps(),
    default=20,
    show_default=True,
    metavar="N",
    help="How far a clock may be off: steps, or a time such as 12h or 2d.",
)
CODES_STDIN = click.option("--codes-stdin", is_flag=True, help="Read the codes from stdin, one per line, oldest first.")


def seed_file_options(function: Callable[P, R]) -> Callable[P, R]:
    """Add `encoding`, `unlock_stdin` and `unlock_fd`, the options of every command that reads a seed file."""
    for decorate in reversed(SEED_FILE_OPTIONS):
        function = decorate(function)
    return function


def dropped_rows(dropped: Sequence[DroppedRow]) -> list[ResultRow]:
    """Return a result row for each rejected row, with the fields `where` and `reason`."""
    return [{"where": row.where, "reason": row.reason} for row in dropped]


def note_dropped(dropped: Sequence[DroppedRow], progress: Progress) -> None:
    """Print each rejected row on stderr, for output forms that have no place for rejected rows."""
    for row in dropped:
        progress.alert(f"{row.where}: {row.reason}")
