"""`mfa-kit break-glass custodians`: give the same identity to another group of custodians."""

from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.break_glass.creating import plan, reseal
from mfa_kit.break_glass.meeting import meet
from mfa_kit.break_glass.proof import locate, prove
from mfa_kit.cli.break_glass.options import (
    ACCEPT,
    CUSTODIAN,
    LETTERS,
    PRESENT,
    RECOVERY_KEY_DIR,
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
    ports = wiring.break_glass.open_ports(settings)
    recovery_key = locate(folder, ports)
    prove(recovery_key, ports, accept=accept)
    chosen = new_group(threshold, custodians, letters=letters is not None)
    if settings.dry_run:
        print_plan(plan(chosen.group, ports), output)
        return
    write_letters = confirm_letters(chosen, letters, paper, ports)
    opened = meet(recovery_key, keys, ports)
    written = reseal(recovery_key, opened.identity, chosen.group, ports=ports, letters=write_letters)
    settings.progress.alert(
        suggest(
            f"{recovery_key.manifest.group.threshold} of the earlier custodians can still open the identity with "
            f"any copy of {recovery_key.folder}; destroy the copies, or replace the identity",
            "break-glass rotate",
        )
    )
    output.one("break-glass-custodians", recovery_key_row(written, "sealed"))
