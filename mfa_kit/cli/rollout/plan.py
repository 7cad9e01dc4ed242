"""`mfa-kit rollout plan`: compare a roster, or a selection of users, with IAM, and write a plan."""

from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.cli import options
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.rollout import shared_options
from mfa_kit.cli.rollout.plan_input import check_files, read_selection
from mfa_kit.cli.rollout.roster_rows import read_roster_rows
from mfa_kit.cli.rollout.users_plan import PlanOptions, note_surprises, plan_summary, plan_users
from mfa_kit.rollout.plan import Plan, plan_digest, plan_text
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings


@click.command(cls=options.Verb)
@click.argument("roster", type=Path, required=False)
@click.option("-o", "--plan", "out", type=Path, required=True, metavar="FILE", help="File to write the plan to.")
@shared_options.GROUP
@click.option("--path-prefix", metavar="PATH", help="Only users below this IAM path.")
@click.option("--tag", "tags", multiple=True, metavar="K=V", help="Only users with this tag.")
@click.option("--without-mfa", is_flag=True, help="Only users with a console password and no MFA device.")
@shared_options.ONLY
@click.option("--skip-bad", type=Path, metavar="FILE", help="Skip rows with errors, and write them to FILE.")
@click.option(
    "--trust-report",
    is_flag=True,
    help="Use the credential report (up to 4 hours old) instead of looking up each user.",
)
@shared_options.WORKERS
@account_options(workers=False, results=False)
def plan(
    *,
    roster: Path | None,
    out: Path,
    groups: tuple[str, ...],
    path_prefix: str | None,
    tags: tuple[str, ...],
    without_mfa: bool,
    only: str | None,
    skip_bad: Path | None,
    trust_report: bool,
    workers: int,
    settings: Settings,
    output: Output,
) -> int:
    """Compare ROSTER, or a selection of users, with IAM, and write a plan. Changes nothing.

    With --accounts or --org, write a plan for each account, and an index of all plans to FILE.
    """
    selection = read_selection(groups=groups, path_prefix=path_prefix, tags=tags, without_mfa=without_mfa)
    check_files(roster, out, skip_bad, selects=any([groups, tags, without_mfa, path_prefix]), only=only)
    request = PlanOptions(
        rows=read_roster_rows(roster, skip_bad, settings=settings) if roster else None,
        selection=selection,
        only=shared_options.split_names(only),
        trust_report=trust_report,
        workers=workers,
    )
    with wiring.rollout.open_rollout(
        settings, METHODS, store=wiring.stores.open_vault(settings), workers=workers, progress=settings.progress
    ) as ports:
        new_plan = plan_users(request, ports, progress=settings.progress)
        digest = _write_plan(new_plan, out, settings=settings)
        note_surprises(new_plan, progress=settings.progress)
        head: ResultRow = {"plan": str(out), "sha256": digest, "account": new_plan.account, **new_plan.counts}
        output.one(
            "rollout-plan-summary", {**head, **plan_summary(new_plan, full_lists=output.form in {"json", "jsonl"})}
        )
    return 0


def _write_plan(new_plan: Plan, out: Path, *, settings: Settings) -> str:
    """Write a plan, except in a dry run. Return the SHA-256 of its file in hex."""
    text = plan_text(new_plan)
    if not settings.dry_run:
        wiring.rollout.write_file(out, text)
    return plan_digest(text)
