"""`mfa-kit status`: who has which MFA devices, and who has none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit.cli import flags, report

if TYPE_CHECKING:
    from mfa_kit import status as use_case

# Threads that ask for a user each: what IAM's unpublished rates are known to bear.
AT_ONCE = 8


@click.command(cls=flags.Verb)
@click.argument("user", required=False)
@flags.BACKUP_DIR
def status(*, user: str | None, backup_dir: Path | None) -> None:
    """Show USER's MFA devices, or everybody's: kind, since when, who made it, and where its backup is."""
    from concurrent.futures import ThreadPoolExecutor

    from mfa_kit import status as use_case
    from mfa_kit.cli.kit import desk as kit
    from mfa_kit.enrollment import user_named

    common = flags.common()
    with kit.desk(common, vault=kit.vault((), (), backup_dir)) as (desk, caller):
        names = [user_named(user, caller=caller, inventory=desk.inventory)] if user else desk.inventory.users()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(lambda name: use_case.status(name, caller=caller, desk=desk), names))
        report.many(
            "status",
            [_row(each) for devices in found for each in devices],
            output=common.output,
            empty=f"there is no user in account {caller.account}",
        )


def _row(has: use_case.Has) -> report.Row:
    return {
        "user": has.user,
        "kind": has.device.kind if has.device else "none",
        "device": has.device.serial if has.device else None,
        "since": flags.written(has.device.since) if has.device and has.device.since else None,
        "made": has.made,
        "backup": has.backup,
        "certifications": has.certifications,
    }
