"""`mfa-kit break-glass open`: custodians open a backup together, and its QR code or its codes are shown."""

import time
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.backups.contents import device_and_account
from mfa_kit.break_glass import showing
from mfa_kit.break_glass.meeting import meet
from mfa_kit.break_glass.proof import find_for_backup
from mfa_kit.cli.backup_options import ACCEPT_LABEL
from mfa_kit.cli.break_glass.options import PRESENT, RECOVERY_KEY_DIR
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.value_types import PlaceType
from mfa_kit.core.message import suggest
from mfa_kit.core.models import BackupLocation, RecoveryKeyAction
from mfa_kit.wiring.settings import Settings


@click.command("open", cls=Verb, needs_config=False)
@click.option("--backup", "file", required=True, type=PlaceType(), metavar="FILE", help="The backup to open.")
@PRESENT
@click.option(
    "--from",
    "source",
    type=Path,
    metavar="FILE",
    help="File from which other custodians removed their layers (break-glass pass).",
)
@click.option("--codes", is_flag=True, help="Show the codes of the device instead of its QR code.")
@ACCEPT_LABEL
@RECOVERY_KEY_DIR
def open_backup(
    *,
    file: BackupLocation,
    keys: tuple[Path, ...],
    source: Path | None,
    codes: bool,
    accept_label: bool,
    folder: Path | None,
    settings: Settings,
    output: Output,
) -> None:
    """Open a backup: the custodians name their identity files one after the other, in any order.

    The QR code is on the alternate screen until you press Enter. The opening is recorded in the ledger.
    """
    person, ports = settings.interaction, wiring.break_glass.open_ports(settings)
    recovery_key = find_for_backup(file, folder, ports, seals=lambda: wiring.backups.read_seals(settings))
    person.check(instead="a terminal, or age itself, as docs/break-glass.md describes")
    if not codes:
        person.check(wiring.backups.sample_symbol(file), instead=showing.UNSEEN)
    wiring.backups.backup_reader(settings)(file)  # it can be read, so the custodians do not meet in vain
    row = {"backup": str(file), "recipient": recovery_key.manifest.recipient}
    if settings.dry_run:
        output.one("break-glass-open", {"outcome": "planned", **row})
        return
    met = meet(recovery_key, keys, ports, only=source)
    ports.record(recovery_key.manifest, RecoveryKeyAction.OPENED, met.names, backups=1)
    settings.progress.alert(suggest("the identity was opened, so replace it soon", "break-glass rotate"))
    opened = wiring.backups.open_with(settings, file, met.identity.keys, accept_label=accept_label)
    if codes:
        showing.show_codes(opened.created.seed, opened.label, now=time.time, person=person)
    else:
        symbol = wiring.qr_codes.draw(opened.created.seed, *device_and_account(opened.label))
        showing.show_picture(symbol, opened.label, person=person)
    output.one(
        "break-glass-open",
        {"outcome": "opened", **row, "label": opened.label, "custodians": met.names},
    )
