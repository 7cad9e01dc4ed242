"""`mfa-kit rollout plan`: compare a roster, or a selection of users, with IAM, and write a plan."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from mfa_kit.account.snapshot import CredentialReport
from mfa_kit.cli import options
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.rollout import shared_options
from mfa_kit.cli.rollout.running import look_up_counted
from mfa_kit.cli.status_line import counting
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import LiveProgress, Progress
from mfa_kit.core.text import count_of
from mfa_kit.rollout.plan import AccountListing, Action, DeviceLookup, Plan, make_plan
from mfa_kit.rollout.plan_file import plan_digest, plan_text
from mfa_kit.rollout.roster import RosterRow, keep_users, key_fingerprint
from mfa_kit.rollout.roster_text import faults_table
from mfa_kit.rollout.selection import ListedUser, Selection
from mfa_kit.wiring import rollout as wiring
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.rollout import RolloutPorts
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.vault import open_vault

# Seconds. IAM creates a new credential report only when the last one is older than this.
REPORT_AGE = 4 * 3600
# The number of names in a table cell. Longer lists do not fit on one line.
SHOWN = 20


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
) -> None:
    """Compare ROSTER, or a selection of users, with IAM, and write a plan. Changes nothing."""
    _check_source(roster, selects=any([groups, tags, without_mfa, path_prefix]), only=only)
    _check_apart(roster, out, skip_bad)
    rows = _read_rows(roster, skip_bad, settings=settings) if roster else None
    selection = Selection(
        groups=groups,
        path_prefix=_parse_prefix(path_prefix),
        tags=tuple(map(_parse_tag, tags)),
        without_mfa=without_mfa,
    )
    with wiring.open_rollout(
        settings, METHODS, vault=open_vault(), workers=workers, progress=settings.progress
    ) as ports:
        with settings.progress.showing("reading the credential report"):
            report = ports.account.report(max_age=REPORT_AGE) if without_mfa or trust_report else None
        with counting(settings.progress, "reading users", ports.people.users(details=selection.by_details)) as counted:
            users = list(counted)
        with counting(settings.progress, "reading virtual devices", ports.account.virtual()) as devices:
            listing = AccountListing.of(users, devices)
        if rows is None:
            rows = _select_rows(users, selection, report=report, progress=settings.progress)
        if only:
            rows = keep_users(rows, shared_options.split_names(only))
        trusted = report if trust_report else None
        with settings.progress.showing("comparing"):
            new_plan = make_plan(
                rows,
                listing,
                look=_lookup(ports, trusted, workers=workers, progress=settings.progress),
                caller=ports.caller,
                desk=ports.desk,
                report_age=ports.desk.inventory.now() - trusted.made if trusted else None,
            )
        digest = _write_plan(new_plan, out, settings=settings)
        _note_surprises(new_plan, progress=settings.progress)
        head: ResultRow = {"plan": str(out), "sha256": digest, "account": new_plan.account, **new_plan.counts}
        output.one("rollout-plan-summary", {**head, **_summary(new_plan, whole=output.form in {"json", "jsonl"})})


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


def _read_rows(file: Path, skip_bad: Path | None, *, settings: Settings) -> list[RosterRow]:
    """Return the rows of a roster. If it has faults, raise UsageFault with all of them as notes.

    With `skip_bad`, write the faulty rows to that file instead, and return the others.
    """
    found = wiring.read_roster(file, METHODS)
    if found.faults and skip_bad:
        what = f"skipping {count_of(len({fault.line for fault in found.faults}), 'row')} with errors"
        if not settings.dry_run:
            wiring.write_file(skip_bad, faults_table(found.faults))
            what += f"; see {skip_bad}"
        settings.progress.alert(what)
        for fault in found.faults:
            if not fault.cells:  # the row could not be read, so the file has no cells of it
                settings.progress.alert(str(fault))
    elif found.faults:
        error = UsageFault(
            f"{file} has {count_of(len(found.faults), 'error')}",
            "fix them, or skip those rows with --skip-bad FILE",
        )
        for fault in found.faults:
            error.add_note(str(fault))
        raise error
    return list(found.rows)


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


def _select_rows(
    people: Iterable[ListedUser], selection: Selection, *, report: CredentialReport | None, progress: Progress
) -> list[RosterRow]:
    """Return a row for each user in the account that the selection matches."""
    passwords = {name for name, each in report.users.items() if each.password} if report else set()
    rows = [RosterRow(user=person.name) for person in people if selection.matches(person, passwords)]
    if not rows:
        progress.alert("no user in the account matches this selection")
    return rows


def _lookup(
    ports: RolloutPorts, trusted: CredentialReport | None, *, workers: int, progress: LiveProgress
) -> DeviceLookup:
    """Return a lookup of users' devices: in IAM, or in a report. A report has no serials, so a phrase replaces them."""
    if trusted is None:
        return lambda users: look_up_counted(users, ports, workers=workers, progress=progress)
    with_mfa = {name for name, each in trusted.users.items() if each.mfa}
    return lambda users: {user: ("a device according to the credential report",) for user in users if user in with_mfa}


def _write_plan(new_plan: Plan, out: Path, *, settings: Settings) -> str:
    """Write a plan, except in a dry run. Return the SHA-256 of its file in hex."""
    text = plan_text(new_plan)
    if not settings.dry_run:
        wiring.write_file(out, text)
    return plan_digest(text)


def _note_surprises(new_plan: Plan, *, progress: Progress) -> None:
    """Print a note for each blocked user, and for each user whose public key has changed."""
    for step in new_plan.steps:
        if step.action is Action.BLOCKED:
            progress.alert(f"blocked: {step.user}: {step.reason}")
        if step.key_before:
            progress.alert(f"new public key: {step.user}: {_key(step.row)}, previously {step.key_before}")


def _key(row: RosterRow) -> str:
    return key_fingerprint(row.recipient) if row.recipient else ""


def _summary(new_plan: Plan, *, whole: bool) -> ResultRow:
    """Return the part of the summary after the counts. With `whole`, for JSON output, lists are not shortened."""
    keys = [step for step in new_plan.steps if step.row.recipient]
    return {
        "no_own_copy": new_plan.shut_out if whole else _shorten(new_plan.shut_out),
        "no_admin_backup": None if whole else f"{len(keys)}, unless apply gets -r" if keys else None,
        "keys_changed": [step.user for step in keys if step.key_before] or None,
        "report_age_s": None if new_plan.report_age is None else round(new_plan.report_age),
        "api_calls": new_plan.calls,
        "estimated_s": round(new_plan.seconds),
    }


def _shorten(names: Sequence[str]) -> str | None:
    if not names:
        return None
    return f"{len(names)}: {', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}"
