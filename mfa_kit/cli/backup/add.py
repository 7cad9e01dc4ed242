"""`mfa-kit backup add`: makes an encrypted backup from an existing QR code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from mfa_kit import wiring
from mfa_kit.backups import adding
from mfa_kit.cli import options
from mfa_kit.cli.backup_options import new_backup_options
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.text import count_of

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.interaction import Progress
    from mfa_kit.wiring.settings import Settings

NO_PROMISE = (
    "copies may remain on an SSD or a copy-on-write file system, in snapshots, in cloud folders and in other programs"
)


@click.command(cls=options.Verb)
@click.argument("user", required=False)
@click.option("--root", is_flag=True, help="The device belongs to the account's root user.")
@click.option(
    "--image",
    required=True,
    metavar="FILE|-",
    help="Picture of the QR code, such as PNG or JPEG, or a text file with its key URI; - is stdin.",
)
@options.DEVICE
@new_backup_options
@click.option("--shred", is_flag=True, help="Overwrite and remove the picture after the backup is written.")
def add(
    *,
    user: str | None,
    root: bool,
    image: str,
    wanted: str | None,
    shred: bool,
    settings: Settings,
    output: Output,
    **backups: Unpack[wiring.stores.NewBackupOptions],
) -> None:
    """Encrypt an existing QR code (console screenshot, app export) or key URI as a backup.

    You type a code from the device, to prove that the picture belongs to the device.
    """
    _check_usage(user, root=root, image=image, shred=shred)
    settings.interaction.check(instead=adding.INSTEAD)
    picture, shred_picture = wiring.backups.read_picture(image, settings.interaction)
    store = wiring.stores.open_store_for_device(settings, backups, alone=True)
    store.check()
    with wiring.ports.open_ports(settings, store=store) as (ports, caller):
        backup = adding.add(
            picture,
            uri_of=wiring.backups.uri_of,
            user=user,
            device_name=wanted,
            run=wiring.ports.new_run_id(ports.iam_reader),
            caller=caller,
            ports=ports,
            person=settings.interaction,
        )
    if shred_picture and not settings.dry_run:
        _put_away(image, shred_picture if shred else None, settings.progress)
    row = {
        "outcome": "planned" if settings.dry_run else "sealed",
        "user": backup.user,
        "device": backup.device,
        "backup": str(backup.path),
        "image": image if image != wiring.backups.STDIN else None,
        "shredded": None if shred_picture is None else shred and not settings.dry_run,
    }
    output.one("backup-add", row)


def _check_usage(user: str | None, *, root: bool, image: str, shred: bool) -> None:
    """Raise UsageFault for options that cannot be used together."""
    if (user is None) is not root:
        raise UsageFault(
            "give either a USER or --root", "add the user's name, or use --root for the device of the root user"
        )
    if any(text.lstrip().lower().startswith(("otpauth:", "otpauth-migration:")) for text in (user or "", image)):
        raise UsageFault(
            "a key URI contains a secret, and other programs can read arguments",
            "remove it from the history of your shell, and give a file that contains it: --image FILE",
        )
    if shred and image == wiring.backups.STDIN:
        raise UsageFault("a picture on stdin cannot be overwritten", "give the file: --image FILE")


def _put_away(image: str, shred: wiring.backups.Shred | None, progress: Progress) -> None:
    """Overwrite and remove the picture with `shred`, and print what may remain.

    If `shred` is None, remind the user to delete the picture instead.
    """
    if shred is None:
        progress.alert(f"{image} contains the secret unencrypted: delete it and empty the trash, or use --shred")
        return
    other_names = shred()
    progress.alert(f"{image} was overwritten and removed; {NO_PROMISE}")
    if other_names:
        progress.alert(f"the picture was also overwritten under {count_of(other_names, 'other name')} (hard links)")
