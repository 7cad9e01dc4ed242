"""`mfa-kit revoke`: deactivate, delete, and only then forget the copies."""

import click

from mfa_kit.cli import options, output
from mfa_kit.cli.keys import PASSWORD_STDIN


@click.command(cls=options.Verb)
@click.argument("user")
@options.DEVICE
@click.option("--lost", is_flag=True, help="Somebody may have it: tell also how to end its sessions.")
@click.option(
    "--leave-without-mfa", is_flag=True, help="Take the last device too: who has the password can then enroll."
)
@PASSWORD_STDIN
def revoke(*, user: str, wanted: str | None, lost: bool, leave_without_mfa: bool, password_stdin: bool) -> None:
    """Take an MFA device away from USER: a name, an ARN, or @me."""
    from mfa_kit.cli.deeds.revoke import confirm
    from mfa_kit.core.models import Verb
    from mfa_kit.enrollment import revoke as revocation
    from mfa_kit.enrollment.enroll import user_named
    from mfa_kit.wiring import desk as kit
    from mfa_kit.wiring.oath_keys import OathKeys

    common = options.common()
    with kit.desk(common, vault=kit.vault((), (), None), oath_keys=OathKeys(common, password_stdin=password_stdin)) as (
        desk,
        caller,
    ):
        entry = revocation.look_to_revoke(
            user_named(user, caller=caller, inventory=desk.inventory),
            wanted,
            leave_without_mfa=leave_without_mfa,
            caller=caller,
            desk=desk,
            run=kit.run_id(desk.inventory),
            lost=lost,
        )
        row: dict[str, object] = {
            "outcome": "planned",
            "user": entry.intent.user,
            "device": entry.intent.serial,
            "backup": entry.backup,
        }
        if leave_without_mfa:
            desk.progress.note(f"warning: whoever has the password of {entry.intent.user} can then enroll a device")
        if common.dry_run:
            row["steps"] = revocation.steps(entry, lost=lost, desk=desk)
        else:
            confirm(entry, when="for good")
            done = revocation.retire(entry, verb=Verb.LOST if lost else Verb.REVOKE, desk=desk)
            row["outcome"] = "revoked"
            if lost and options.form() != "table":  # people were told already
                row["end_sessions"] = done.end_sessions
        output.one("revoke", row, output=options.form())
