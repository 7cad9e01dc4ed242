"""`mfa-kit revoke`: deactivate and delete a device, then remove its credential and its backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli import options
from mfa_kit.cli.backup_options import PASSWORD_STDIN
from mfa_kit.core.models import JournalState, RunKind
from mfa_kit.enrollment import revoke as use_case
from mfa_kit.enrollment.planning import resolve_user

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.text import Cell
    from mfa_kit.wiring.settings import Settings


@click.command(cls=options.Verb)
@click.argument("user")
@options.DEVICE
@click.option(
    "--lost", is_flag=True, help="The device is lost: do not ask for the key, and print how to end the user's sessions."
)
@click.option(
    "--leave-without-mfa",
    is_flag=True,
    help="Also remove USER's last device. Without MFA, anyone with the password can enroll one.",
)
@PASSWORD_STDIN
def revoke(
    *,
    user: str,
    wanted: str | None,
    lost: bool,
    leave_without_mfa: bool,
    password_stdin: bool,
    settings: Settings,
    output: Output,
) -> None:
    """Remove an MFA device from USER. USER is a name, an ARN, or @me."""
    store = wiring.stores.open_backup_store(settings)
    oath_keys = wiring.oath_keys.OathKeys(settings, password_stdin=password_stdin)
    with wiring.ports.open_ports(settings, store=store, oath_keys=oath_keys) as (ports, caller):
        entry = use_case.look_to_revoke(
            resolve_user(user, caller=caller, iam_reader=ports.iam_reader),
            wanted,
            leave_without_mfa=leave_without_mfa,
            caller=caller,
            ports=ports,
            run=wiring.ports.new_run_id(ports.iam_reader),
            lost=lost,
        )
        row: dict[str, Cell] = {
            "outcome": "planned",
            "user": entry.spec.user,
            "device": entry.spec.serial,
            "backup": entry.backup,
        }
        if leave_without_mfa:
            ports.progress.alert(
                f"warning: without MFA, anyone with the password of {entry.spec.user} can enroll a device"
            )
        if settings.dry_run:
            row["steps"] = use_case.removal_steps(entry, lost=lost, ports=ports)
        else:
            if entry.reached is not JournalState.REVOKED:  # otherwise the device is already removed
                use_case.confirm_removal(
                    entry, when="permanently", person=None if settings.yes else settings.interaction
                )
            done = use_case.retire(entry, purpose=RunKind.LOST if lost else RunKind.REVOKE, ports=ports)
            row["outcome"] = "revoked"
            # The commands that end the user's sessions are printed on stderr, so a table does not repeat them.
            if lost and output.form != "table":
                row["end_sessions"] = done.end_sessions
        output.one("revoke", row)
