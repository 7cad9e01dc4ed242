"""`mfa-kit ledger copy`: copy a computer's ledger to PostgreSQL."""

from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.wiring.settings import Settings


@click.command("copy", cls=Verb)
@click.option(
    "--from", "folder", type=Path, metavar="DIR", help="Copy the ledger in this folder, not this computer's own."
)
def copy_ledger(*, folder: Path | None, settings: Settings, output: Output) -> None:
    """Copy a computer's ledger to PostgreSQL. Your database role must own the ledger there.

    Rows that were copied before are not copied again. The times of rows are kept. The ledger on the computer is not
    changed.
    """
    output.one("ledger-copy", dict(wiring.shared_ledger.copy_ledger(settings, folder)))
