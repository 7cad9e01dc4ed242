"""`mfa-kit rollout remind`: list users who still have to prove that their app works, or to enroll themselves."""

from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli import options
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.backup_options import BACKUP_DIR
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.rollout import shared_options
from mfa_kit.cli.rollout.running import look_up_counted
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.core.models import BackupLocation
from mfa_kit.core.timestamps import iso_time
from mfa_kit.rollout.handing_over import find_reminders
from mfa_kit.rollout.plan import Plan, check_account
from mfa_kit.rollout.row_status import look_up_status
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings

DAY = 24 * 60 * 60
NO_ONE = "no one has to be reminded"


@click.command(cls=options.Verb)
@shared_options.PLAN_FILE
@BACKUP_DIR
@shared_options.WORKERS
@account_options(workers=False, results=False)
def remind(
    *, plan_file: Path, backup_dir: BackupLocation | None, workers: int, settings: Settings, output: Output
) -> None:
    """List the users of PLAN who still have to prove that their app works, or to enroll themselves.

    PLAN may be an index of plans. With --output csv, the list is ready for a mail merge. mfa-kit sends nothing.
    """
    plan, digest = wiring.rosters_and_plans.read_plan(plan_file, METHODS, expected=())
    store = wiring.stores.open_vault(settings, backup_dir)
    with wiring.rollout.open_rollout(
        settings, METHODS, store=store, workers=workers, progress=settings.progress
    ) as ports:
        check_account(plan, ports.caller)
        with settings.progress.showing("reading users and devices"):
            rows = reminder_rows(plan, digest, ports, workers=workers, progress=settings.progress)
    output.many("rollout-remind", rows, empty=NO_ONE, narrow=("user", "email", "waiting_for", "since", "days"))


def reminder_rows(
    plan: Plan, digest: str, ports: "wiring.rollout.RolloutPorts", *, workers: int, progress: LiveProgress
) -> list[ResultRow]:
    """Return a row for each user of a plan who must be reminded. `digest` is the SHA-256 of the plan's file in hex."""
    results = look_up_status(
        plan,
        holders=ports.execution(workers=workers).list_holders(),
        look=lambda users: look_up_counted(users, ports.ports, workers=workers, progress=progress),
        failures=ports.failures(digest).by_user(),
        ports=ports.ports,
    )
    now = ports.ports.iam_reader.now()
    return [
        {
            "user": reminder.user,
            "email": reminder.email or None,
            "waiting_for": reminder.awaited.value,
            "since": iso_time(reminder.since),
            "days": max(int((now - reminder.since) // DAY), 0),
            "device": reminder.device,
            "file": reminder.backup,
        }
        for reminder in find_reminders(plan, results)
    ]
