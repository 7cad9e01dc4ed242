"""`mfa-kit break-glass custodians`: give the same identity to another group of custodians."""

from pathlib import Path

import click

from mfa_kit.cli.break_glass.glass_options import CUSTODIAN, GLASS_DIR, PRESENT, THRESHOLD, glass_row, print_plan
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.wiring import break_glass as wiring
from mfa_kit.wiring import break_glass_upkeep as upkeep
from mfa_kit.wiring.settings import Settings


@click.command("custodians", cls=Verb, needs_config=False)
@PRESENT
@THRESHOLD
@CUSTODIAN
@GLASS_DIR
def custodians(
    *,
    keys: tuple[Path, ...],
    threshold: int,
    custodians: tuple[str, ...],
    folder: Path | None,
    settings: Settings,
    output: Output,
) -> None:
    """Hold a meeting of the present custodians, and write the same identity for these custodians to a new folder.

    The files of the old folder still open the identity, so rotate it if a custodian is no longer trusted.
    """
    glass = wiring.find_glass(settings, folder)
    group = wiring.group_of(threshold, custodians)
    if settings.dry_run:
        print_plan(group, output)
        return
    opened = wiring.meet(glass, keys, settings.interaction)
    written = upkeep.reseal(settings, glass, opened, group)
    settings.progress.alert(
        f"{glass.manifest.group.threshold} of the earlier custodians can still open the identity with any copy of "
        f"{glass.folder}; destroy the copies, or replace the identity: mfa-kit break-glass rotate"
    )
    output.one("break-glass-custodians", glass_row(written, "sealed"))
