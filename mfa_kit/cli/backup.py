"""`mfa-kit backup`: list, show, restore, verify. What is in a backup never reaches stdout."""

from pathlib import Path

import click

from mfa_kit.cli import flags, report, stderr
from mfa_kit.cli.keys import WHICH, passphrase_fd, password_stdin
from mfa_kit.errors import IntegrityFault, UsageFault


@click.group(cls=flags.Noun)
def backup() -> None:
    """List, open and check sealed backups."""


@backup.command("list")
@flags.BACKUP_DIR
def list_(*, backup_dir: Path | None) -> None:
    """List the backups of this desk."""
    from mfa_kit.cli.kit import backup as kit
    from mfa_kit.cli.kit import desk

    rows = [
        {
            "account": each.account,
            "user": each.user,
            "device": each.device,
            "made": flags.written(each.made),
            "file": str(each.path),
        }
        for each in kit.list_backups(backup_dir)
    ]
    empty = f"no backups in {desk.backup_dir(backup_dir)}"
    report.many("backup-list", rows, output=flags.common().output, empty=empty)


@backup.command()
@click.argument("file", type=Path)
@flags.identity(required=True)
@passphrase_fd
@click.option("-o", "--out", required=True, type=Path, metavar="FILE", help="New file for the picture, made 0600.")
def show(*, file: Path, keys: tuple[Path, ...], out: Path) -> None:
    """Open FILE and write the QR code in it, unencrypted, to a new file."""
    from mfa_kit.cli.kit import backup as kit

    if str(out) == "-":
        raise UsageFault("a QR code is a secret and is not written to standard output", "name a new file: -o qr.png")
    kit.show_backup(file, keys, out)
    stderr.Talk().note(f"{out} holds the seed in the clear; delete it when it is scanned")
    report.one("backup-show", {"backup": str(file), "picture": str(out)}, output=flags.common().output)


@backup.command()
@click.argument("file", type=Path)
@flags.identity(required=True)
@passphrase_fd
@click.option("--to", "_kind", type=click.Choice(["oath"]), required=True, help="What gets the seed: a key with OATH.")
@WHICH
@click.option("--touch/--no-touch", default=True, show_default=True, help="Whether each code takes a touch.")
@click.option("--path", default="/", show_default=True, help="IAM path of the device, which no backup tells.")
@password_stdin
def restore(*, file: Path, keys: tuple[Path, ...], _kind: str, wanted: str | None, touch: bool, path: str) -> None:
    """Put the seed in FILE on one more key: its codes are then the same as the first one's."""
    from mfa_kit.cli.kit import oath

    report.one("backup-restore", oath.restore(file, keys, wanted, touch=touch, path=path), output=flags.common().output)


@backup.command()
@click.argument("files", type=Path, nargs=-1, required=True)
@flags.identity(required=True)
@passphrase_fd
def verify(*, files: tuple[Path, ...], keys: tuple[Path, ...]) -> int:
    """Show that FILES open and hold a QR code for AWS. All are tried; ends with 5 when one is no good."""
    from mfa_kit.cli.kit import backup as kit

    rows = [
        {"file": str(each.file), "opens": each.fault is None, "label": each.label, "fault": each.fault}
        for each in kit.verify_backups(files, keys)
    ]
    report.many("backup-verify", rows, output=flags.common().output, empty="")
    return 0 if all(row["opens"] for row in rows) else IntegrityFault.exit_code
