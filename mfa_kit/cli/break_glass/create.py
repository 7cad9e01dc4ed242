"""`mfa-kit break-glass create`: make an identity that only several custodians can open together."""

from pathlib import Path

import click

from mfa_kit.cli.break_glass.glass_options import CUSTODIAN, THRESHOLD, glass_row, print_plan
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.wiring import break_glass as wiring
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
def create(
    *, threshold: int, custodians: tuple[str, ...], folder: Path | None, settings: Settings, output: Output
) -> None:
    """Make an identity that M of these custodians can open together, and print its recipient.

    For each set of M custodians, a file in the new folder contains the identity, encrypted to one after the other.
    """
    group = wiring.group_of(threshold, custodians)
    if settings.dry_run:
        print_plan(group, output)
        return
    glass = wiring.create(settings, group, folder)
    settings.progress.note(f"encrypt backups to it: -r {glass.manifest.recipient}")
    settings.progress.note(f"give each custodian a copy of {glass.folder}, and hold a drill: mfa-kit break-glass drill")
    output.one("break-glass-create", glass_row(glass, "created"))
