"""`mfa-kit resync`: resynchronize a device with two consecutive codes, typed or computed from a backup."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli import options
from mfa_kit.cli.backup_options import BACKUP_DIR, PASSPHRASE_FD, identity
from mfa_kit.core import otp
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import BackupLocation, Caller, Device, recorded_location
from mfa_kit.core.wrong_codes import REJECTED_FROM_BACKUP, REJECTED_IN_RESYNC
from mfa_kit.enrollment import resync as use_case
from mfa_kit.enrollment.backends import ask_pair
from mfa_kit.enrollment.planning import choose_device, recorded_entry, resolve_user

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.otp import Pair
    from mfa_kit.enrollment.ports import EnrollmentPorts
    from mfa_kit.wiring.settings import Settings


@click.command(cls=options.Verb)
@click.argument("user")
@options.DEVICE
@identity()
@PASSPHRASE_FD
@BACKUP_DIR
def resync(
    *,
    user: str,
    wanted: str | None,
    keys: tuple[Path, ...],
    passphrase_fd: int | None,
    backup_dir: BackupLocation | None,
    settings: Settings,
    output: Output,
) -> None:
    """Resynchronize IAM with the clock of USER's device, using two consecutive codes.

    With -i, mfa-kit computes the codes from the encrypted backup.
    """
    store = wiring.stores.open_backup_store(settings, backup_dir)
    with wiring.ports.open_ports(settings, store=store) as (ports, caller):
        name = resolve_user(user, caller=caller, iam_reader=ports.iam_reader)
        device = choose_device(name, wanted, devices=ports.iam_reader.devices(name))
        if keys:
            identities = wiring.age_keys.Identities(keys, passphrase_fd=passphrase_fd, person=settings.interaction)
            codes = _from_backup(device, name, identities, caller=caller, ports=ports, settings=settings)
        else:
            instead = "-i IDENTITY, to compute them from the encrypted backup"
            # The user types the codes once. If IAM throttles the request, the same codes are sent again.
            codes = cache(
                partial(ask_pair, now=ports.iam_reader.now, interaction=settings.interaction, instead=instead)
            )
        if not settings.dry_run:
            hint = REJECTED_FROM_BACKUP if keys else REJECTED_IN_RESYNC
            use_case.resync_device(name, device, codes, ports=ports, hint=hint)
        outcome = "planned" if settings.dry_run else "resynced"
        output.one("resync", {"outcome": outcome, "user": name, "device": device.serial})


def _from_backup(
    device: Device,
    user: str,
    identities: wiring.age_keys.Identities,
    *,
    caller: Caller,
    ports: EnrollmentPorts,
    settings: Settings,
) -> Callable[[], Pair]:
    """Decrypt a device's backup, and return a function that computes two consecutive codes.

    Raise IntegrityFault if the device has no backup.
    """
    entry = recorded_entry(device, user, caller=caller, ports=ports)
    file = ports.store.find(entry) if entry else None
    if file is None:
        raise IntegrityFault(
            f"{device.serial} has no backup on this computer", "name the folder of the backups with --backup-dir"
        )
    seed = wiring.backups.open_created(settings, recorded_location(file), identities).seed
    return lambda: otp.pair(seed, ports.iam_reader.now())
