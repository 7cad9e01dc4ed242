"""`mfa-kit backup restore` and `show`: put the secret of a backup on another device, or its QR code into a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.backup.list import backups_named
from mfa_kit.cli.backup_options import ACCEPT_LABEL, PASSPHRASE_FD, PASSWORD_STDIN, WHICH, identity
from mfa_kit.cli.options import Verb
from mfa_kit.cli.value_types import LocalPath, PlaceType
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import Message, mfa_kit
from mfa_kit.enrollment.backends import Phone, PhoneSetup

if TYPE_CHECKING:
    from mfa_kit.backups.contents import Opened
    from mfa_kit.cli.output import Output
    from mfa_kit.core.models import BackupLocation, DeviceSpec
    from mfa_kit.core.text import ResultRow
    from mfa_kit.wiring.settings import Settings

SCAN = "scan it with the new phone of {user}, then type the code that the phone shows for {name}"


@click.command(cls=Verb, needs_config=False, acts_at_once=True)
@click.argument("file", metavar="USER|FILE", type=PlaceType())
@identity(required=True)
@PASSPHRASE_FD
@ACCEPT_LABEL
@click.option(
    "--to",
    "kind",
    type=click.Choice(["oath", "phone"]),
    required=True,
    help="What to put the secret on: an OATH key or a phone.",
)
@WHICH
@click.option(
    "--touch/--no-touch", default=True, show_default=True, help="Whether the key requires a touch for each code."
)
@click.option("--path", help="IAM path of the device [default: as recorded on this computer].")
@PASSWORD_STDIN
def restore(
    *,
    file: BackupLocation,
    keys: tuple[Path, ...],
    passphrase_fd: int | None,
    accept_label: bool,
    kind: str,
    wanted: str | None,
    touch: bool,
    path: str | None,
    password_stdin: bool,
    settings: Settings,
    output: Output,
) -> None:
    """Put the secret of a backup on another phone or key, which then shows the same codes as the first.

    FILE is a path, or a file name of `backup list`; USER is the user of the only backup that the
    identity opens. If the device was reported lost, mfa-kit refuses, because anyone who finds the device sees the same
    codes.
    """
    files = backups_named(file, settings)
    identities = wiring.age_keys.Identities(keys, passphrase_fd=passphrase_fd, person=settings.interaction)
    open_file = partial(wiring.backups.open_restorable, settings, files, identities, accept_label=accept_label)
    if kind == "phone":
        row = _restore_to_phone(file, open_file, settings)
    else:
        keys_here = wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin)
        row = _restore_to_key(open_file, keys_here, wanted, touch=touch, path=path, settings=settings)
    output.one("backup-restore", row)


def _restore_to_key(
    open_file: Callable[[], tuple[DeviceSpec, Opened]],
    keys: wiring.oath_keys.OathKeys,
    key_name: str | None,
    *,
    touch: bool,
    path: str | None,
    settings: Settings,
) -> ResultRow:
    """Put the secret of a backup on a key, and check with codes that the key has this secret. Return the result row."""
    key = keys.choose(key_name)
    spec, opened = open_file()
    spec = spec if path is None else replace(spec, path=path)
    written = keys.card(key, now=time.time, touch=touch).restore(spec, opened.created)
    wiring.ledger.record_restored(settings, key.facts, spec)
    return {
        "backup": str(opened.file),
        "outcome": "restored" if written else "already there",
        "label": spec.label,
        "key": key.what,
        "serial": key.serial,
        "where": key.where,
    }


def _restore_to_phone(
    file: BackupLocation, open_file: Callable[[], tuple[DeviceSpec, Opened]], settings: Settings
) -> ResultRow:
    """Show the QR code of a backup until a code proves that the phone scanned it. Return the result row.

    `file` is what the command line names: with the name of a user, the identity decides which file is opened.
    """
    person = settings.interaction
    person.check(
        instead=Message(mfa_kit("backup show {} -i IDENTITY -o FILE", str(file)), "then scan FILE with the phone")
    )
    spec, opened = open_file()
    phone = Phone(time.time, interaction=person, draw=wiring.files.draw, proof=PhoneSetup(typed=1, scan=SCAN))
    phone.install(phone.check(spec, sealed=True), opened.created)
    phone.codes(spec)
    return {"backup": str(opened.file), "outcome": "restored", "label": opened.label}


@click.command("show", cls=Verb, needs_config=False, acts_at_once=True)
@click.argument("file", metavar="USER|FILE", type=PlaceType())
@identity(required=True)
@PASSPHRASE_FD
@ACCEPT_LABEL
@click.option(
    "-o",
    "--out",
    required=True,
    type=LocalPath(),
    metavar="FILE",
    help="New file for the picture; only you can read it.",
)
def show_backup(
    *,
    file: BackupLocation,
    keys: tuple[Path, ...],
    passphrase_fd: int | None,
    accept_label: bool,
    out: Path,
    settings: Settings,
    output: Output,
) -> None:
    """Decrypt a backup and write its QR code, unencrypted, to a new file.

    FILE is a path, or a file name of `backup list`; USER is the user of the only backup that the identity opens.
    """
    if str(out) == "-":
        raise UsageFault("a QR code is a secret and is not written to stdout", "name a new file: -o qr.png")
    wiring.files.check_new(out)
    files = backups_named(file, settings)
    identities = wiring.age_keys.Identities(keys, passphrase_fd=passphrase_fd, person=settings.interaction)
    opened = wiring.backups.open_with(settings, files, identities.read(), accept_label=accept_label)
    wiring.files.write_new_file(out, opened.picture)
    settings.progress.alert(f"{out} contains the secret unencrypted; delete it after scanning")
    output.one("backup-show", {"backup": str(opened.file), "picture": str(out)})
