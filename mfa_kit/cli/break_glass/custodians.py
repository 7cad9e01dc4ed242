"""`mfa-kit break-glass custodians`: give the same identity to another group of custodians."""

from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli.break_glass.options import (
    ACCEPT,
    CUSTODIAN,
    LETTERS,
    PRESENT,
    RECOVERY_KEY_DIR,
    THRESHOLD,
    new_group,
    print_plan,
    recovery_key_row,
)
from mfa_kit.cli.letter_options import PAPER
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.wiring.settings import Settings


@click.command("custodians", cls=Verb, needs_config=False)
@PRESENT
@THRESHOLD
@CUSTODIAN
@RECOVERY_KEY_DIR
@ACCEPT
@LETTERS
@PAPER
def custodians(
    *,
    keys: tuple[Path, ...],
    threshold: int,
    custodians: tuple[str, ...],
    folder: Path | None,
    accept: bool,
    letters: Path | None,
    paper: str,
    settings: Settings,
    output: Output,
) -> None:
    """Hold a meeting of the current custodians, and write the same identity for the named custodians to a new folder.

    The files of the old folder still open the identity, so rotate it if a custodian is no longer trusted.
    """
    recovery_key = wiring.break_glass.locate_recovery_key(folder)
    wiring.break_glass.prove(settings, recovery_key, accept=accept)
    chosen = new_group(threshold, custodians, letters, paper)
    if settings.dry_run:
        print_plan(chosen.group, output)
        return
    write = chosen.check(settings)
    opened = wiring.break_glass.meet(recovery_key, keys, settings.interaction)
    written = wiring.break_glass.reseal(settings, recovery_key, opened, chosen.group, write)
    settings.progress.alert(
        f"{recovery_key.manifest.group.threshold} of the earlier custodians can still open the identity with any copy "
        f"of {recovery_key.folder}; destroy the copies, or replace the identity: mfa-kit break-glass rotate"
    )
    output.one("break-glass-custodians", recovery_key_row(written, "sealed"))
