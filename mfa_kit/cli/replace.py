"""`mfa-kit replace`: enroll's options, for a user whose device goes."""

from pathlib import Path
from typing import Any

import click

from mfa_kit import revocation
from mfa_kit.cli import enroll, flags, report
from mfa_kit.cli.kinds import KINDS
from mfa_kit.cli.kit import desk as kit
from mfa_kit.cli.kit.passphrase import vault as making_vault
from mfa_kit.cli.revoke import WHICH
from mfa_kit.enrollment import Wish, user_named
from mfa_kit.models import Kind


@click.command(cls=enroll.Enroll, epilog=enroll.EPILOG)
@enroll.making
@WHICH
@click.option("--lost", is_flag=True, help="Take the old device away first, for somebody may have it.")
def replace(
    *,
    user: str,
    kind: str,
    name: str | None,
    path: str,
    to: tuple[str, ...],
    to_files: tuple[Path, ...],
    backup_dir: Path | None,
    passphrase: bool,
    wanted: str | None,
    lost: bool,
    **own: Any,
) -> None:
    """Give USER a new MFA device for an old one, which goes when the new one works."""
    common = flags.common()
    vault = making_vault(
        to, to_files, backup_dir, passphrase=passphrase, alone=own.get("codes") == "generated", flags=common
    )
    with kit.desk(common, vault=vault) as (desk, caller):
        wish = Wish(user=user_named(user, caller=caller), kind=Kind(kind), name=name, path=path)
        kinds_row = KINDS[Kind(kind)]
        carrier = kinds_row.carrier(own, desk.inventory)
        run = kit.run_id(desk.inventory)
        intent, old = revocation.look_to_replace(
            wish, carrier, wanted=wanted, lost=lost, caller=caller, desk=desk, run=run
        )
        row: dict[str, object] = {
            "outcome": "planned",
            "user": wish.user,
            "device": intent.serial,
            "kind": intent.kind,
            "revoked": old.intent.serial if old else None,
            "backup": desk.vault.place(intent, run),
            "run": run,
            "listed": None,
        }
        if not common.dry_run:
            done = revocation.replace_device(intent, old, carrier, lost=lost, desk=desk, run=run, maker=kinds_row.maker)
            row |= {
                "outcome": "replaced",
                "revoked": done.revoked.serial if done.revoked else None,
                "listed": done.enrolled.listed,
            }
            for line in kinds_row.usage(done.enrolled.intent):
                desk.progress.note(line)
            for command in revocation.session_commands(wish.user, at=desk.inventory.now()) if lost else ():
                desk.progress.note(f"to end its sessions: {command}")
        report.one("replace", row, output=common.output)
