"""Makes the plan of one account, and the cells of its summary."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mfa_kit import wiring
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.rollout.running import look_up_counted
from mfa_kit.cli.status_line import counting
from mfa_kit.core.interaction import LiveProgress, Progress
from mfa_kit.rollout.plan import Action, DeviceLookup, Plan
from mfa_kit.rollout.plan_making import AccountListing, make_plan
from mfa_kit.rollout.roster import ListedUser, RosterRow, UserSelection, keep_users, key_fingerprint

if TYPE_CHECKING:
    from mfa_kit.account.snapshot import CredentialReport

# The maximum age in seconds of a credential report. Until the last report is this old, IAM creates no new one.
REPORT_AGE = 4 * 3600
# The maximum number of names in a table cell.
SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """The users to plan for: the users in `rows` of a roster, or the selected users if `rows` is None.

    If `only` has names, other users are left out. With `trust_report`, the credential report says who has a device.
    `workers` users are looked up at a time. `several` is true if plans are made for several accounts. It is then no
    error if the selection matches no user of this account, or if `only` names users of other accounts.
    """

    rows: Sequence[RosterRow] | None
    selection: UserSelection
    only: Sequence[str]
    trust_report: bool
    workers: int
    several: bool = False

    @property
    def by_report(self) -> bool:
        """Whether the credential report is needed."""
        return self.selection.without_mfa or self.trust_report


def plan_users(request: PlanOptions, ports: "wiring.rollout.RolloutPorts", *, progress: LiveProgress) -> Plan:
    """Compare the users with IAM, and return the plan.

    Raise UsageFault if `only` names a user who is not in the roster or the selection, unless `several` is true.
    """
    with progress.showing("reading the credential report"):
        report = ports.account.report(max_age=REPORT_AGE) if request.by_report else None
    with counting(progress, "reading users", ports.people.users(details=request.selection.by_details)) as counted:
        users = list(counted)
    with counting(progress, "reading virtual devices", ports.account.virtual()) as devices:
        listing = AccountListing.of(users, devices)
    rows = _kept(
        request,
        _select_rows(users, request, report=report, progress=progress) if request.rows is None else request.rows,
    )
    trusted = report if request.trust_report else None
    with progress.showing("comparing"):
        return make_plan(
            rows,
            listing,
            look=_lookup(ports, trusted, workers=request.workers, progress=progress),
            caller=ports.caller,
            ports=ports.ports,
            report_age=ports.ports.iam_reader.now() - trusted.made if trusted else None,
        )


def _select_rows(
    people: Iterable[ListedUser], request: PlanOptions, *, report: "CredentialReport | None", progress: Progress
) -> list[RosterRow]:
    """Return a row for each user of the account who matches the selection."""
    passwords = {name for name, credentials in report.users.items() if credentials.password} if report else set()
    rows = [RosterRow(user=person.name) for person in people if request.selection.matches(person, passwords)]
    if not rows and not request.several:
        progress.alert("no user in the account matches this selection")
    return rows


def _kept(request: PlanOptions, rows: Sequence[RosterRow]) -> Sequence[RosterRow]:
    """Return the rows. If `only` has names, return only the rows of these users.

    Raise UsageFault for a name without a row, unless `several` is true.
    """
    if request.several and request.only:
        names = {name.lower() for name in request.only}
        return [row for row in rows if row.user.lower() in names]
    return keep_users(rows, request.only) if request.only else rows


def _lookup(
    ports: "wiring.rollout.RolloutPorts", trusted: "CredentialReport | None", *, workers: int, progress: LiveProgress
) -> DeviceLookup:
    """Return a function that looks up users' devices in the report `trusted`, or in IAM if `trusted` is None.

    The report has no serials of devices, so a phrase takes the place of a serial.
    """
    if trusted is None:
        return lambda users: look_up_counted(users, ports.ports, workers=workers, progress=progress)
    with_mfa = {name for name, credentials in trusted.users.items() if credentials.mfa}
    return lambda users: {user: ("a device according to the credential report",) for user in users if user in with_mfa}


def note_surprises(new_plan: Plan, *, progress: Progress) -> None:
    """Print a note for each blocked user, and for each user whose public key has changed."""
    for step in new_plan.steps:
        if step.action is Action.BLOCKED:
            progress.alert(f"blocked: {step.user}: {step.reason}")
        if step.key_before:
            progress.alert(f"new public key: {step.user}: {_key(step.row)}, previously {step.key_before}")


def _key(row: RosterRow) -> str:
    return key_fingerprint(row.recipient) if row.recipient else ""


def plan_summary(new_plan: Plan, *, full_lists: bool) -> ResultRow:
    """Return the fields of the summary that follow the counts. With `full_lists`, for JSON, lists are not shortened."""
    keys = [step for step in new_plan.steps if step.row.recipient]
    return {
        "no_own_copy": new_plan.shut_out if full_lists else _shorten(new_plan.shut_out),
        "no_admin_backup": None if full_lists else f"{len(keys)}, unless apply gets -r" if keys else None,
        "keys_changed": [step.user for step in keys if step.key_before] or None,
        "report_age_s": None if new_plan.report_age is None else round(new_plan.report_age),
        "api_calls": new_plan.calls,
        "estimated_s": round(new_plan.seconds),
    }


def _shorten(names: Sequence[str]) -> str | None:
    if not names:
        return None
    return f"{len(names)}: {', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}"
