"""`mfa-kit resync`: two codes in a row, typed or computed from a sealed backup."""

from functools import cache
from pathlib import Path

import click

from mfa_kit.cli import options, output
from mfa_kit.cli.keys import PASSPHRASE_FD
from mfa_kit.core.errors import IntegrityFault


@click.command(cls=options.Verb)
@click.argument("user")
@options.DEVICE
@options.identity(required=False)
@PASSPHRASE_FD
@options.BACKUP_DIR
def resync(
    *, user: str, wanted: str | None, keys: tuple[Path, ...], passphrase_fd: int | None, backup_dir: Path | None
) -> None:
    """Tell IAM how far the clock of USER's device is off, by two codes that it shows in a row.

    With -i the codes are computed from the sealed backup, for AWS's time.
    """
    from mfa_kit.core import otp
    from mfa_kit.core.otp import Pair
    from mfa_kit.enrollment import resync as use_case
    from mfa_kit.enrollment import revoke
    from mfa_kit.enrollment.device_status import entry_of
    from mfa_kit.enrollment.enroll import user_named
    from mfa_kit.enrollment.phone import read_pair
    from mfa_kit.wiring import backup as backups
    from mfa_kit.wiring import desk as kit
    from mfa_kit.wiring.identities import Identities

    common = options.common()
    with kit.desk(common, vault=kit.vault((), (), backup_dir)) as (desk, caller):
        name = user_named(user, caller=caller, inventory=desk.inventory)
        device = revoke.choose(name, wanted, devices=desk.inventory.devices(name))

        @cache
        def typed() -> Pair:
            return read_pair(
                now=desk.inventory.now, interaction=common.interaction, instead="-i IDENTITY, for a sealed backup"
            )

        identities = Identities(keys, passphrase_fd=passphrase_fd, person=common.interaction)
        if keys:
            entry = entry_of(device, name, caller=caller, desk=desk)
            file = desk.vault.find(entry) if entry else None
            if file is None:
                raise IntegrityFault(f"there is no backup of {device.serial} here", "name its folder with --backup-dir")
            seed = backups.open_created(Path(file), identities).seed
        if not common.dry_run:
            use_case.resync(name, device, (lambda: otp.pair(seed, desk.inventory.now())) if keys else typed, desk=desk)
        output.one(
            "resync",
            {"outcome": "planned" if common.dry_run else "resynced", "user": name, "device": device.serial},
            output=options.form(),
        )
