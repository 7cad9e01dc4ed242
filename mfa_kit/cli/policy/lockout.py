"""`mfa-kit policy lockout`: list the users who would lose access if a policy were attached."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from mfa_kit import wiring
from mfa_kit.cli.account_options import MAX_AGE, SNAPSHOT, UNIT, account_options
from mfa_kit.cli.options import Matching, Verb
from mfa_kit.cli.policy.lint import POLICY_FILE, read_policy
from mfa_kit.cli.visits import AccountRows, RowsForm, exit_code, print_rows
from mfa_kit.core.errors import Lockout, UsageFault
from mfa_kit.core.models import ACCOUNT_ID
from mfa_kit.core.text import Cell, ResultRow, count_of
from mfa_kit.policy.lockout import (
    UNCHANGED,
    AccessState,
    UserAccess,
    access_under,
    access_with,
    administrators_left,
    after_policy,
    attached_trial,
    control_trial,
    locked_out,
    may_have_to_change,
    unread_users,
)
from mfa_kit.policy.simulator import compare_with_simulator
from mfa_kit.policy.texts import force_mfa

if TYPE_CHECKING:
    from mfa_kit.account.snapshot import Snapshot
    from mfa_kit.cli.output import Output
    from mfa_kit.core.interaction import LiveProgress
    from mfa_kit.organization.accounts import AccountsChoice, OrgAccount
    from mfa_kit.wiring.organization import Organization
    from mfa_kit.wiring.settings import Settings

# The value of --at: root, or the ID of a root, a unit or an account.
TARGET = re.compile(rf"root|{UNIT.pattern}|{ACCOUNT_ID.pattern}", re.ASCII)
FORM = RowsForm(
    "policy-lockout",
    fields=("user", "way", "standing", "why", "first", "already"),
    narrow_in_many=("user", "way", "standing", "first"),
    below=("why", "first"),
    empty="no user would be locked out",
)


FIRST = "do what the column FIRST says for each of them, then run this again"
WHY = "find out what the column WHY says is unknown, then run this again"
NOBODY_READ = "the state of no user could be read, so nobody was checked"
# The command that shows the permissions is in the message about what could not be read.
AGAIN = "make sure that everything can be read, then run this again"


class TriedAccount(NamedTuple):
    """The result of trying a policy in one account.

    `users` is the number of users with a credential, and `shut` that of the users who would or might be locked out.
    `states` counts the credentials by what would happen to them. `unread` has a text for each part of the account that
    could not be read, and that may contain more users. `has_help` is false if no administrator would still have access,
    and `has_first` is false if no row of these users has advice in the column FIRST.
    """

    label: str
    users: int
    shut: int
    states: Counter[AccessState]
    unread: Sequence[str]
    has_help: bool
    has_first: bool


@click.command(cls=Verb)
@click.argument("policy_file", metavar="[FILE]", type=POLICY_FILE, required=False)
@click.option("--policy", "document", type=POLICY_FILE, metavar="FILE", help="The same as FILE.")
@click.option(
    "--scp",
    type=POLICY_FILE,
    metavar="FILE",
    help="Try this service control policy of the organization instead, on users, roles and root.",
)
@click.option(
    "--at",
    "target",
    type=Matching(TARGET, "root, a unit or an account", "write root, an ID such as ou-abcd-12345678, or an account ID"),
    metavar="root|OU|ACCOUNT",
    help="Where the service control policy would be attached.",
)
@click.option(
    "--attached", is_flag=True, help="Try the service control policies that are attached today, with --org, like --scp."
)
@click.option(
    "--instead-of-full-access", "instead", is_flag=True, help="With --scp, FullAWSAccess would be detached there."
)
@click.option("--group", metavar="NAME", help="Try the policy on the users of this group [default: all users].")
@click.option("--self-enroll", is_flag=True, help="Users who can still sign in and enroll do not count as locked out.")
@click.option("--all", "everybody", is_flag=True, help="Also list users for whom nothing would change.")
@SNAPSHOT
@MAX_AGE
@account_options(results=False, in_one=("file",), implied_by="scp")
def lockout(
    *,
    policy_file: Path | None,
    document: Path | None,
    scp: Path | None,
    target: str | None,
    attached: bool,
    instead: bool,
    group: str | None,
    self_enroll: bool,
    everybody: bool,
    file: Path | None,
    max_age: float,
    accounts: AccountsChoice | None,
    settings: Settings,
    output: Output,
) -> int:
    """List users who would lose access if a policy were attached today. The exit code is 6 if there are any.

    FILE has the policy (- is stdin). Without FILE, it is the policy that `policy show` prints. With --scp and --at,
    list also roles and root, in each account that the service control policy would affect.
    """
    text = _policy_text(policy_file, document)
    control = _control_choice(scp, target, attached=attached, instead=instead, others=bool(text or group))
    accounts = _accounts_of(control, accounts)
    choice, noun = (control, "principal") if control else (PolicyChoice(text, group), "user")
    source = wiring.audit.SnapshotSource(
        file=file,
        max_age=max_age,
        passwords_of=may_have_to_change,
        control=True,
        afresh=lambda user: group in user.user.groups,
    )
    tried: list[TriedAccount] = []
    hidden = frozenset[AccessState]() if everybody else UNCHANGED
    with wiring.audit.open_snapshots(settings, source, accounts) as snapshots:

        def read(account: OrgAccount) -> AccountRows:
            snapshot = snapshots.take(account)
            accesses = choice.accesses(snapshot)
            tried.append(_tried_account(account.label, accesses, snapshot, self_enroll=self_enroll))
            shown = [access for access in accesses if access.state not in hidden]
            rows = _access_rows(shown, account=account.id if accounts else None, already=output.form != "table")
            nobody_read = bool(tried[-1].unread) and not accesses
            return AccountRows(rows, tried[-1].unread, empty=NOBODY_READ if nobody_read else "")

        form = FORM._replace(empty=f"no {noun} would be locked out")
        visits = print_rows(snapshots, read, form, progress=settings.progress, output=output)
        if not control:
            _compare(text, snapshots.organization, settings.progress)
    _note_totals(tried, noun, settings.progress, scps=control is not None)
    _refuse(tried, noun, is_many=accounts is not None)
    return exit_code(visits, findings=False)


class PolicyChoice(NamedTuple):
    """An identity policy that is tried on the users of a group, or on all users.

    If `text` is None, it is the policy that `policy show` prints.
    """

    text: str | None
    group: str | None

    def accesses(self, snapshot: Snapshot) -> list[UserAccess]:
        """Return the access that the users of an account would have."""
        return access_with(snapshot, self.text or force_mfa(snapshot.partition), group=self.group)


class ControlChoice(NamedTuple):
    """A service control policy that is tried: its text, and the target to which it would be attached.

    The target is `root`, or the ID of the root, of a unit or of an account. With `instead`, FullAWSAccess is detached.
    If `text` is None, all policies are tried that are attached today.
    """

    text: str | None
    target: str
    instead: bool

    def accesses(self, snapshot: Snapshot) -> list[UserAccess]:
        """Return the access that users, roles and root of an account would have. An exempt account has none."""
        if self.text is None:
            trial = attached_trial(snapshot)
            return access_under(replace(snapshot, control=()), trial) if trial else []
        levels = snapshot.control or ()
        target = levels[0].target if self.target == "root" and levels else self.target
        trial = control_trial(snapshot, self.text, target=target, instead=self.instead)
        return access_under(snapshot, trial) if trial else []


def _control_choice(
    scp: Path | None, target: str | None, *, attached: bool, instead: bool, others: bool
) -> ControlChoice | None:
    """Return the choice of --scp and --at or of --attached, or None. Raise UsageFault for options that do not fit."""
    if others and (scp or attached):
        raise UsageFault("--scp and --attached try no other policy and no group", "omit FILE, --policy and --group")
    if scp is None:
        if target or instead:
            raise UsageFault("--at and --instead-of-full-access need --scp", "name the policy: --scp FILE")
        return ControlChoice(None, "root", instead=False) if attached else None
    if target is None or attached:
        raise UsageFault("--scp needs --at, and no --attached", "name the target: --at root, an OU or an account")
    return ControlChoice(read_policy(scp), target, instead)


def _accounts_of(control: ControlChoice | None, choice: AccountsChoice | None) -> AccountsChoice | None:
    """Return the choice of accounts, limited to those that a service control policy would affect."""
    if control is None:
        return choice
    if choice is None or not choice.org:
        raise UsageFault(
            "service control policies need the accounts of an organization", "add --org, without --accounts"
        )
    if control.target == "root":
        return choice
    if choice.ou:
        raise UsageFault("--scp cannot be used with --ou", "name the unit or the account: --at")
    if ACCOUNT_ID.fullmatch(control.target):
        return replace(choice, include=(control.target,))
    return replace(choice, ou=control.target)


def _policy_text(file: Path | None, document: Path | None) -> str | None:
    """Return the policy in FILE or in the file of --policy, or None if there is neither. Raise UsageFault for both."""
    if file and document:
        raise UsageFault("the policy is given twice", "omit --policy, or FILE")
    chosen = file or document
    return read_policy(chosen) if chosen else None


def _tried_account(
    label: str, accesses: Sequence[UserAccess], snapshot: Snapshot, *, self_enroll: bool
) -> TriedAccount:
    shut = locked_out(accesses, self_enroll=self_enroll)
    return TriedAccount(
        label=label,
        users=len({access.user for access in accesses}),
        shut=len(shut),
        states=Counter(access.state for access in accesses),
        unread=snapshot.unread_users,
        has_help=not shut or bool(administrators_left(accesses, snapshot)),
        has_first=any(access.first for access in accesses if access.user in shut),
    )


def _note_totals(tried: Sequence[TriedAccount], noun: str, progress: LiveProgress, *, scps: bool) -> None:
    """Print how many users and credentials the accounts have, and how many credentials are in each state.

    `noun` is the word for those who are counted, in the singular. `scps` is true if SCPs are tried.
    """
    users = sum(account.users for account in tried)
    if not users and any(account.unread for account in tried):
        progress.note(NOBODY_READ)
        return
    if scps and tried and not users:
        progress.note("no service control policy would limit these accounts; the management account is exempt")
    states = sum((account.states for account in tried), Counter[AccessState]())
    totals = ", ".join(f"{state}: {states[state]}" for state in AccessState if states[state])
    ways = f"{states.total()} ways to work" if scps else count_of(states.total(), "credential")
    progress.note(f"{count_of(users, noun)}, {ways}; {totals or 'none'}")


def _refuse(tried: Sequence[TriedAccount], noun: str, *, is_many: bool) -> None:
    """Raise Lockout if a user would be locked out, or if some users could not be read and may be locked out."""
    if shut := [account for account in tried if account.shut]:
        raise _lockout_in(shut, noun, is_many=is_many)
    for account in tried:
        if account.unread:
            why = f"account {account.label}: {account.unread[0]}" if is_many else account.unread[0]
            raise unread_users(why, AGAIN)


def _lockout_in(shut: Sequence[TriedAccount], noun: str, *, is_many: bool) -> Lockout:
    """Return the error for the accounts in which somebody would or might be locked out."""
    hint = FIRST if any(account.has_first for account in shut) else WHY
    users = sum(account.shut for account in shut)
    if is_many:
        who = f"{count_of(users, noun)} in {count_of(len(shut), 'account')}"
        return Lockout(f"{who} would (or might) be locked out", hint)
    error = Lockout(f"{users} of {shut[0].users} users would (or might) be locked out", hint)
    if not shut[0].has_help:
        error.add_note("no administrator would still have access, so no one could help these users")
    return error


def _access_rows(accesses: Sequence[UserAccess], *, account: str | None, already: bool) -> list[ResultRow]:
    """Return a row for each way in which a user gets access: a console password or access keys.

    With the ID of an account as `account`, the commands in the rows name it. Without `already`, the rows do not have
    the cell that says whether today's policies lock the user out.
    """
    rows: list[dict[str, Cell]] = [asdict(after_policy(access, account=account)) for access in accesses]
    if not already:
        for row in rows:
            del row["already"]
    return [*rows]


def _compare(text: str | None, organization: Organization | None, progress: LiveProgress) -> None:
    """Print whether IAM's policy simulator and mfa-kit evaluate the policy in the same way.

    `text` is None for the policy that `policy show` prints. Without a connection to AWS, print nothing.
    """
    if organization is None:
        return
    document, account = text or force_mfa(organization.caller.partition), wiring.audit.account_source(organization.home)
    with progress.showing("comparing with IAM's policy simulator"):
        compared = compare_with_simulator(document, account)
    if compared.why_not:
        progress.note(f"not compared with IAM's policy simulator: {compared.why_not}")
    elif not compared.differing:
        progress.note("IAM's policy simulator agrees with mfa-kit")
    for difference in compared.differing:
        progress.note(f"IAM's policy simulator disagrees: {difference}")
