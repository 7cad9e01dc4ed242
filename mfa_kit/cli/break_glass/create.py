"""`mfa-kit break-glass create`: make an identity that only several custodians can open together."""

from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.break_glass import creating
from mfa_kit.break_glass.creating import plan
from mfa_kit.cli.break_glass.options import (
    CUSTODIAN,
    LETTERS,
    THRESHOLD,
    confirm_letters,
    new_group,
    print_plan,
    recovery_key_row,
)
from mfa_kit.cli.letters import PAPER
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.message import suggest
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb, needs_config=False)
@THRESHOLD
@CUSTODIAN
@click.option(
    "--dir",
    "folder",
    type=Path,
    metavar="DIR",
    help="New folder for the files [default: one in mfa-kit's own folder].",
)
@LETTERS
@PAPER
def create(
    *,
    threshold: int,
    custodians: tuple[str, ...],
    folder: Path | None,
    letters: Path | None,
    paper: str,
    settings: Settings,
    output: Output,
) -> None:
    """Make an identity that M of these custodians can open together, and print its recipient.

    The new folder has a file for each set of M custodians: the identity, encrypted to each of them in turn.
    """
    ports = wiring.break_glass.open_ports(settings)
    chosen = new_group(threshold, custodians, letters=letters is not None)
    if settings.dry_run:
        print_plan(plan(chosen.group, ports), output)
        return
    recovery_key = creating.create(chosen.group, folder, ports, letters=confirm_letters(chosen, letters, paper, ports))
    settings.progress.note(f"to encrypt backups to the new identity, use: -r {recovery_key.manifest.recipient}")
    settings.progress.note(
        suggest(f"give each custodian a copy of {recovery_key.folder}, and hold a drill", "break-glass drill")
    )
    output.one("break-glass-create", recovery_key_row(recovery_key, "created"))
