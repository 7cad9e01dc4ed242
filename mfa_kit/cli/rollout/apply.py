"""`mfa-kit rollout apply`: enroll the users of a plan, and write a result for each user."""

from pathlib import Path

import click

from mfa_kit.cli import options
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout import shared_options
from mfa_kit.cli.rollout.apply_options import ApplyOptions
from mfa_kit.cli.rollout.plan_run import apply_one
from mfa_kit.core.places import Place
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.vault import open_vault_for_new


@click.command(cls=options.Verb)
@shared_options.PLAN_FILE
@shared_options.backup_options
@options.LOCAL_BACKUPS
@shared_options.STAGE
@shared_options.ACCEPT_LOCKOUT
@shared_options.MAX_FAILURES
@shared_options.EXPECTED
@shared_options.RESULTS
@shared_options.WORKERS
@account_options(role=None, workers=False, results=False)
def apply(
    *,
    plan_file: Path,
    to: tuple[str, ...],
    to_files: tuple[Path, ...],
    backup_dir: Place | None,
    local_backups: bool,
    staged: bool,
    accept_lockout: bool,
    max_failures: int | None,
    expected: str | None,
    results: Path | None,
    workers: int,
    settings: Settings,
    output: Output,
) -> int:
    """Enroll the users of PLAN, or of an index of plans. Run the same command again to continue."""
    wanted = ApplyOptions(
        plan_file=plan_file,
        vault=open_vault_for_new(settings, backup_dir, to=to, to_files=to_files, local_backups=local_backups),
        staged=staged,
        accept_lockout=accept_lockout,
        max_failures=max_failures,
        expected=expected,
        results=results,
        workers=workers,
    )
    return apply_one(wanted, settings=settings, output=output)
