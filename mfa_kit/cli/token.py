"""`mfa-kit token`: boxes of display tokens. Seeds are read from the vendor's file each time and kept nowhere."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from mfa_kit.cli import options
from mfa_kit.core.errors import UsageFault

File = click.Path(path_type=Path, dir_okay=False)


class Window(click.ParamType[int]):
    """Steps, or a length of time in steps of 30 s."""

    name = "steps"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if len(value) > LONGEST:
            self.fail(f"a window has {LIMIT} steps at most; write 20, 12h or 2d", param, ctx)
        try:
            steps = int(value) if value.isdecimal() else int(options.Age().convert(value, param, ctx)) // 30
        except UsageFault as fault:
            raise UsageFault(str(fault), "write a number of steps, such as 20, or a time: 12h or 2d") from None
        if not 0 <= steps <= LIMIT:
            self.fail(f"{value} is more than {LIMIT} steps", param, ctx)
        return steps


# Two months; beyond that a clock is not late but dead.
LIMIT = 175_200
# Letters of the longest length of time that is worth reading, in seconds.
LONGEST = len("5256000s")
READING = (
    click.option(
        "--seed-encoding",
        "encoding",
        type=click.Choice(["hex", "base32"]),
        help="How the seeds are written, where the rows themselves do not settle it.",
    ),
    click.option("--unlock-stdin", is_flag=True, help="Read the file's passphrase or pre-shared key from stdin."),
    click.option("--unlock-fd", type=int, metavar="N", help="Read it from this file descriptor."),
)
WINDOW = click.option(
    "--window",
    type=Window(),
    default=20,
    show_default=True,
    metavar="N",
    help="How far a clock may be off: steps, or a time such as 12h or 2d.",
)
CODES_STDIN = click.option("--codes-stdin", is_flag=True, help="Read the codes from stdin, one a line, oldest first.")


def reading(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every verb that reads a seed file."""
    for decorate in reversed(READING):
        function = decorate(function)
    return function


@click.group(cls=options.Noun)
def token() -> None:
    """Boxes of display tokens: seed files, the inventory, acceptance."""


@token.command("import")
@click.argument("file", type=File)
@reading
@click.option(
    "--programmable",
    type=click.IntRange(1, 128),
    metavar="OCTETS",
    help="These tokens can be programmed with seeds of up to so many octets.",
)
@click.option("--prove", metavar="SERIAL", help="Settle hex or base32 by two codes read off this token.")
@CODES_STDIN
@WINDOW
def import_(
    *, file: Path, programmable: int | None, prove: str | None, codes_stdin: bool, window: int, **how: Any
) -> int:
    """Read a vendor's seed FILE into the inventory: serials, makes and parameters, and no seed."""
    from mfa_kit.cli.deeds import token as deeds

    return deeds.import_(file, programmable=programmable, prove=prove, codes_stdin=codes_stdin, window=window, **how)


@token.command("list")
@click.option("--verdict", type=click.Choice(["accepted", "rejected", "untested"]), help="Only these.")
def list_(*, verdict: str | None) -> None:
    """List the inventory: what each token is, whether it was accepted, what AWS can make of it, who has it."""
    from mfa_kit.cli.deeds import token as deeds

    deeds.list_(verdict)


@token.command()
@click.argument("file", type=File)
@reading
@click.option("--readings", type=File, metavar="CSV", help="Take serial, code, second code and time from a table.")
@click.option("--two", is_flag=True, help="Ask for two consecutive codes of each token.")
@WINDOW
@click.option("--sheet", "out", type=File, metavar="HTML", help="Write a sheet to print, to a new file.")
def accept(*, file: Path, readings: Path | None, two: bool, window: int, out: Path | None, **how: Any) -> int:
    """Test a whole box: serial, code, next. An empty serial ends; the same command goes on later.

    With --no-input nothing is asked, and the box is reported as far as it was tested.
    """
    from mfa_kit.cli.deeds import token as deeds

    return deeds.accept(file, readings=readings, two=two, window=window, out=out, **how)
