"""`mfa-kit verify token`: whether a display token shows the codes of its seed, which one does, how its clock is."""

from pathlib import Path
from typing import Any

import click

from mfa_kit.cli import options
from mfa_kit.cli.token import CODES_STDIN, WINDOW, File, reading


@click.command("token", cls=options.Verb)
@click.argument("serial", required=False)
@click.option("--seeds", "file", type=File, metavar="FILE", help="The vendor's seed file.")
@reading
@click.option("--find", is_flag=True, help="Name the token that shows two consecutive codes.")
@click.option("--two", is_flag=True, help="Ask for two consecutive codes.")
@CODES_STDIN
@WINDOW
@click.option(
    "--probe-user",
    metavar="USER",
    help="Let AWS judge a token that it sold: enable it on this user, who is kept for that, and take it off again.",
)
def token(
    *,
    serial: str | None,
    file: Path | None,
    find: bool,
    two: bool,
    codes_stdin: bool,
    window: int,
    probe_user: str | None,
    **how: Any,
) -> int:
    """Prove that token SERIAL shows the codes of its seed, and how far its clock is off."""
    from mfa_kit.cli.deeds import verify_token as deeds

    return deeds.token(
        serial, file, find=find, two=two, codes_stdin=codes_stdin, window=window, probe_user=probe_user, **how
    )
