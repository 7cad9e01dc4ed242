"""`mfa-kit status`: who has which MFA devices, and who has none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit.cli import options, output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mfa_kit.enrollment import device_status as use_case

# Threads that ask for a user each: what IAM's unpublished rates are known to bear.
AT_ONCE = 8


@click.command(cls=options.Verb)
@click.argument("user", required=False)
@options.BACKUP_DIR
@options.DRILLED_WITHIN
def status(*, user: str | None, backup_dir: Path | None, drilled_within: float) -> None:
    """Show USER's MFA devices, or everybody's: kind, since when, who made it, where its backup is, its last drill."""
    import time
    from concurrent.futures import ThreadPoolExecutor

    from mfa_kit.enrollment import device_status as use_case
    from mfa_kit.enrollment.enroll import user_named
    from mfa_kit.wiring import backup as backups
    from mfa_kit.wiring import desk as kit

    common = options.common()
    with backups.open_records() as records:
        drills = records.drills()
    with kit.desk(common, vault=kit.vault((), (), backup_dir)) as (desk, caller):
        names = [user_named(user, caller=caller, inventory=desk.inventory)] if user else desk.inventory.users()
        look = use_case.status if user else use_case.status_while_there
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = list(pool.map(lambda name: look(name, caller=caller, desk=desk), names))
        everything = [each for devices in found for each in devices]
        rows = [_row(each, drills, since=time.time() - drilled_within) for each in everything]
        if due := sum(bool(row["drill_due"]) for row in rows):
            days = f"{drilled_within / 86400:g} days"
            desk.progress.note(f"backups that were not drilled for {days}: {due}; mfa-kit backup drill -i IDENTITY")
        output.many(
            "status",
            rows,
            output=options.form(),
            empty=f"there is no user in account {caller.account}",
        )


def _row(has: use_case.Has, drills: Mapping[str, float], *, since: float) -> output.Row:
    from mfa_kit.backups.drill import drill_due
    from mfa_kit.core.models import backup_name
    from mfa_kit.wiring.backup import backups_named

    sealed = backups_named([backup_name(Path(has.backup))])[0] if has.backup else None
    drilled = drills.get(sealed.name) if sealed else None
    return {
        "user": has.user,
        "kind": has.device.type if has.device else "none",
        "device": has.device.serial if has.device else None,
        "since": options.written(has.device.since) if has.device and has.device.since else None,
        "made": has.made,
        "backup": has.backup,
        "drilled": options.written(drilled) if drilled else None,
        "drill_due": drill_due(sealed, drills, since=since) if sealed else None,
        "certifications": has.certifications,
    }
