"""`mfa-kit backup`: what there is to do with sealed backups. What is in a backup never reaches stdout."""

from pathlib import Path
from typing import Any

import click

from mfa_kit.cli import messages, options, output
from mfa_kit.cli.keys import WHICH, passphrase_fd, password_stdin
from mfa_kit.core.errors import UsageFault


@click.group(cls=options.Noun)
def backup() -> None:
    """Make, open, check and look after sealed backups."""


@backup.command("list")
@options.BACKUP_DIR
def list_(*, backup_dir: Path | None) -> None:
    """List the backups of this desk."""
    from mfa_kit.wiring import backup as kit
    from mfa_kit.wiring import desk

    rows = [
        {
            "account": each.account,
            "user": each.user,
            "device": each.device,
            "made": options.written(each.made),
            "file": str(each.path),
        }
        for each in kit.list_backups(backup_dir, own=True)
    ]
    empty = f"no backups in {desk.backup_dir(backup_dir)}"
    output.many("backup-list", rows, output=options.form(), empty=empty)


@backup.command()
@click.argument("file", type=Path)
@options.identity(required=True)
@passphrase_fd
@click.option("-o", "--out", required=True, type=Path, metavar="FILE", help="New file for the picture, made 0600.")
def show(*, file: Path, keys: tuple[Path, ...], out: Path) -> None:
    """Open FILE and write the QR code in it, unencrypted, to a new file."""
    from mfa_kit.wiring import backup as kit

    if str(out) == "-":
        raise UsageFault("a QR code is a secret and is not written to standard output", "name a new file: -o qr.png")
    kit.show_backup(file, keys, out)
    messages.Talk().note(f"{out} holds the seed in the clear; delete it when it is scanned")
    output.one("backup-show", {"backup": str(file), "picture": str(out)}, output=options.form())


@backup.command()
@click.argument("user", required=False)
@click.option("--root", is_flag=True, help="The device of the account's root user.")
@click.option("--image", required=True, metavar="FILE|-", help="Picture of the QR code, PNG or JPEG; - is stdin.")
@options.DEVICE
@options.RECIPIENT
@options.RECIPIENTS_FILE
@options.PASSPHRASE
@passphrase_fd
@options.BACKUP_DIR
@click.option("--shred", is_flag=True, help="Overwrite and remove the picture when the backup is sealed.")
def add(*, user: str | None, root: bool, image: str, wanted: str | None, shred: bool, **sealing: Any) -> None:
    """Seal a QR code that somebody else showed: the console's, an old screenshot, an authenticator app's export.

    A code of the device proves that it is the right one.
    """
    from mfa_kit.cli.deeds import backup_add
    from mfa_kit.cli.deeds.enroll import Sealing

    backup_add.add(user, root=root, image=image, wanted=wanted, sealing=Sealing(**sealing), shred=shred)


@backup.command()
@click.argument("file", type=Path)
@options.identity(required=True)
@passphrase_fd
@click.option("--to", "kind", type=click.Choice(["oath", "phone"]), required=True, help="A key with OATH, or a phone.")
@WHICH
@click.option("--touch/--no-touch", default=True, show_default=True, help="Whether each code of a key takes a touch.")
@click.option("--path", help="IAM path of the device, where another desk made it [as this desk's journal has it].")
@password_stdin
def restore(
    *, file: Path, keys: tuple[Path, ...], kind: str, wanted: str | None, touch: bool, path: str | None
) -> None:
    """Put the seed in FILE on one more device: its codes are then the same as the first one's.

    A device that was reported lost is refused, for its finder has them too.
    """
    if kind == "phone":
        from mfa_kit.cli.deeds import backup as deeds

        deeds.restore_to_phone(file, keys)
        return
    from mfa_kit.wiring import oath_keys

    output.one("backup-restore", oath_keys.restore(file, keys, wanted, touch=touch, path=path), output=options.form())


@backup.command()
@click.argument("files", type=Path, nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All backups of this desk.")
@options.BACKUP_DIR
@options.identity(required=True)
@passphrase_fd
def verify(*, files: tuple[Path, ...], everything: bool, backup_dir: Path | None, keys: tuple[Path, ...]) -> int:
    """Show that FILES open and hold a QR code for AWS. All are tried; ends with 5 when one is no good."""
    from mfa_kit.cli.deeds import backup as deeds

    return deeds.verify(files, keys, everything=everything, backup_dir=backup_dir)


@backup.command()
@click.argument("files", type=Path, nargs=-1)
@click.option("--user", metavar="USER", help="The backups of one user [of all].")
@options.BACKUP_DIR
@options.identity(required=True)
@passphrase_fd
@click.option(
    "--from",
    "source",
    type=click.Choice(["phone", "oath"]),
    default="phone",
    show_default=True,
    help="Where the codes come from: typed off a phone, or a key with OATH.",
)
@WHICH
@password_stdin
def drill(*, files: tuple[Path, ...], keys: tuple[Path, ...], source: str, wanted: str | None, **where: Any) -> int:
    """Open FILES, or all backups, and hold each to a code of its device; the ledger remembers when.

    Ends with 1 unless at least one is right and none is wrong.
    """
    from mfa_kit.cli.deeds import backup as deeds

    return deeds.drill(files, keys, source=source, wanted=wanted, **where)


@backup.command()
@options.BACKUP_DIR
@options.identity(required=True)
@passphrase_fd
@options.RECIPIENT
@options.RECIPIENTS_FILE
def rekey(*, backup_dir: Path | None, keys: tuple[Path, ...], to: tuple[str, ...], to_files: tuple[Path, ...]) -> int:
    """Seal all backups for these recipients and nobody else, one by one; run it again after it stopped.

    Copies that were made before open with the old key as ever.
    """
    from mfa_kit.cli.deeds import backup as deeds

    return deeds.rekey(keys, to, to_files, backup_dir=backup_dir)


@backup.command()
@click.option("-r", "--recipient", required=True, metavar="RECIPIENT", help="The age or SSH key that is lost.")
@options.BACKUP_DIR
def exposed(*, recipient: str, backup_dir: Path | None) -> None:
    """List the devices to replace when RECIPIENT's key is in wrong hands, those that were sealed anew among them."""
    from mfa_kit.cli.deeds import backup as deeds

    deeds.exposed(recipient, backup_dir=backup_dir)


@backup.command()
@click.argument("user", required=False)
@options.BACKUP_DIR
def recipients(*, user: str | None, backup_dir: Path | None) -> None:
    """Show who can open which backup, as far as this desk knows."""
    from mfa_kit.cli.deeds import backup as deeds

    deeds.recipients(user, backup_dir=backup_dir)


@backup.command()
@click.option("--days", type=click.IntRange(min=1), metavar="N", help="Also of devices gone, when made N days ago.")
@options.BACKUP_DIR
def prune(*, days: int | None, backup_dir: Path | None) -> int:
    """Remove the backups of users who left; what IAM still has keeps its backup."""
    from mfa_kit.cli.deeds import backup as deeds

    return deeds.prune(days=days, backup_dir=backup_dir)


@backup.command()
@click.argument("file", type=Path, required=False)
def passphrase(*, file: Path | None) -> None:
    """Change the passphrase of this desk's identity, or of the identity FILE; no backup is touched."""
    from mfa_kit.cli.deeds import backup as deeds

    deeds.passphrase(file)
