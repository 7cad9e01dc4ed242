"""`mfa-kit rollout plan`: compare a roster, or a selection of users, with IAM, and write a plan."""

import os
from collections import Counter
from pathlib import Path

import click

from mfa_kit.cli import options
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.rollout import shared_options
from mfa_kit.cli.rollout.index_plan import RosterSource, plan_accounts
from mfa_kit.cli.rollout.roster_rows import read_rows
from mfa_kit.cli.rollout.users_plan import PlanWish, note_surprises, plan_summary, plan_users
from mfa_kit.core.errors import UsageFault
from mfa_kit.organization.choice import AccountsChoice
from mfa_kit.rollout.plan import Plan
from mfa_kit.rollout.plan_file import plan_digest, plan_text
from mfa_kit.rollout.selection import Selection
from mfa_kit.wiring import rollout as wiring
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.vault import open_vault


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
@account_options(role=None, workers=False, results=False)
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
    accounts: AccountsChoice | None,
    settings: Settings,
    output: Output,
) -> int:
    """Compare ROSTER, or a selection of users, with IAM, and write a plan. Changes nothing.

    With --accounts or --org, write a plan for each account, and an index of all plans to FILE.
    """
    _check_source(roster, selects=any([groups, tags, without_mfa, path_prefix]), only=only)
    _check_apart(roster, out, skip_bad)
    selection = Selection(
        groups=groups,
        path_prefix=_parse_prefix(path_prefix),
        tags=tuple(map(_parse_tag, tags)),
        without_mfa=without_mfa,
    )
    if accounts is not None:
        source = RosterSource(file=roster, skip_bad=skip_bad, out=out)
        wish = PlanWish(
            rows=None,
            selection=selection,
            only=shared_options.split_names(only),
            trust_report=trust_report,
            workers=workers,
            several=True,
        )
        return plan_accounts(source, wish, accounts, settings=settings, output=output)
    wish = PlanWish(
        rows=read_rows(roster, skip_bad, settings=settings) if roster else None,
        selection=selection,
        only=shared_options.split_names(only),
        trust_report=trust_report,
        workers=workers,
    )
    with wiring.open_rollout(
        settings, METHODS, vault=open_vault(), workers=workers, progress=settings.progress
    ) as ports:
        new_plan = plan_users(wish, ports, progress=settings.progress)
        digest = _write_plan(new_plan, out, settings=settings)
        note_surprises(new_plan, progress=settings.progress)
        head: ResultRow = {"plan": str(out), "sha256": digest, "account": new_plan.account, **new_plan.counts}
        output.one("rollout-plan-summary", {**head, **plan_summary(new_plan, whole=output.form in {"json", "jsonl"})})
    return 0


def _check_source(roster: Path | None, *, selects: bool, only: str | None) -> None:
    """Raise click.UsageError unless there is either a roster or a selection. `--only` may be added to either."""
    if selects if roster else not (selects or only):
        raise click.UsageError(
            "give either a ROSTER or a selection: --group, --path-prefix, --tag, --without-mfa, --only"
        )


def _check_apart(*files: Path | None) -> None:
    """Raise UsageFault if two files would be written to the same path."""
    named = [file for file in files if file]
    places = Counter(map(os.path.realpath, named))
    if same := next((file for file in named if places[os.path.realpath(file)] > 1), None):
        raise UsageFault(
            f"{same} is given for two files and would be overwritten", "use a different path for each file"
        )


def _parse_prefix(text: str | None) -> str:
    """Return an IAM path; for no text, the path that matches all users. Raise UsageFault without a leading slash."""
    if not text:
        return "/"
    if not text.startswith("/"):
        raise UsageFault(f"{text!a} is not an IAM path", "start it with a slash: --path-prefix /team/")
    return text


def _parse_tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageFault(f"{text!a} is not a tag", "write --tag K=V")
    return key, value


def _write_plan(new_plan: Plan, out: Path, *, settings: Settings) -> str:
    """Write a plan, except in a dry run. Return the SHA-256 of its file in hex."""
    text = plan_text(new_plan)
    if not settings.dry_run:
        wiring.write_file(out, text)
    return plan_digest(text)
