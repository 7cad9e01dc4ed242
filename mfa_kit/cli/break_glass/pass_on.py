"""`mfa-kit break-glass pass`: a custodian removes one layer of a file, and sends the rest to the next custodian."""

from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.break_glass import meeting
from mfa_kit.break_glass.meeting import OwnLayer
from mfa_kit.break_glass.proof import find
from mfa_kit.cli.backup_options import PASSPHRASE_FD, identity
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.interaction import Progress
from mfa_kit.core.message import suggest
from mfa_kit.wiring.settings import Settings


@click.command("pass", cls=Verb, needs_config=False)
@click.argument("file", type=Path)
@identity(required=True)
@PASSPHRASE_FD
@click.option("-o", "--out", required=True, type=Path, metavar="NEXT", help="New file for the next custodian.")
@click.option(
    "--dir", "folder", type=Path, metavar="DIR", help="Folder of manifest.json [default: that of FILE, or the newest]."
)
def pass_on(
    *,
    file: Path,
    keys: tuple[Path, ...],
    passphrase_fd: int | None,
    out: Path,
    folder: Path | None,
    settings: Settings,
    output: Output,
) -> None:
    """Remove your layer of FILE, and write the rest to NEXT. Send NEXT to the custodian whom mfa-kit then names.

    Keep `set-NN` at the start of both file names, because it says which set of custodians can open the file.
    """
    ports = wiring.break_glass.open_ports(settings)
    recovery_key = find(folder or wiring.break_glass.folder_beside(file), ports)
    identities = wiring.age_keys.Identities(keys, passphrase_fd=passphrase_fd, person=settings.interaction)
    layer = meeting.pass_on(recovery_key, file, identities.read, out, ports)
    if not settings.dry_run:
        _say_what_is_next(layer, out, settings.progress)
    row = {
        "outcome": "planned" if settings.dry_run else "passed",
        "file": str(file),
        "custodian": layer.name,
        "next": layer.after[0],
        "out": str(out),
    }
    output.one("break-glass-pass", row)


def _say_what_is_next(layer: OwnLayer, out: Path, progress: Progress) -> None:
    following = layer.after[0]
    if len(layer.after) > 1:
        progress.alert(
            f"send {out} to {following}, then delete it; {', '.join(layer.after)} must still remove their layers"
        )
        return
    progress.alert(f"send {out} to {following}, then delete it; {following} needs no other custodian")
    progress.alert(
        suggest(
            f"FOLDER is {following}'s copy of the break-glass folder; {following} runs",
            "break-glass open --backup BACKUP --from {} --dir FOLDER -i IDENTITY",
            out.name,
        )
    )
