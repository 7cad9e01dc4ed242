"""`mfa-kit policy`: print, check and try out policies that require MFA, and the commands that set up or end access."""

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click

from mfa_kit import wiring
from mfa_kit.account.reading import AccountSource
from mfa_kit.account.snapshot import Snapshot, unread_users
from mfa_kit.cli.account_options import MAX_AGE, SNAPSHOT, account_options, note_unread_users
from mfa_kit.cli.letters import letter_text
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.visits import AccountRows, RowsForm, exit_code, print_rows
from mfa_kit.core.errors import Lockout, UsageFault
from mfa_kit.core.interaction import LiveProgress
from mfa_kit.core.message import suggest
from mfa_kit.core.text import count_of, printable
from mfa_kit.organization.accounts import AccountsChoice, OrgAccount, in_account
from mfa_kit.policy.lint import Holder, Trap, account_traps, find_traps
from mfa_kit.policy.lockout import (
    AccessState,
    UserAccess,
    access_with,
    administrators_left,
    compare_with_simulator,
    locked_out,
    may_have_to_change,
)
from mfa_kit.policy.onboard import SetupStep, StepState, account_steps, colleague_steps, offboard_steps, shell_script
from mfa_kit.policy.org_role import OrgRoleChoices, org_role_template
from mfa_kit.policy.root_ceremony import root_ceremony as ceremony
from mfa_kit.policy.texts import Certification, PolicyChoices, Variant, first_sign_in_line, force_mfa, mfa_policy
from mfa_kit.wiring.settings import Settings

POLICY_FILE = click.Path(path_type=Path, allow_dash=True)
LONGEST = 1 << 20
# The states in which nothing changes for the user.
UNCHANGED = {AccessState.FINE, AccessState.NO_WAY}
FORM = RowsForm(
    "policy-lockout",
    fields=("user", "way", "standing", "why", "first", "already"),
    narrow_in_many=("user", "way", "standing", "first"),
    below=("why", "first"),
    empty="no user would be locked out",
)


@click.command("show", cls=Verb)
@click.option(
    "--variant",
    type=click.Choice(["self-managed", "admin-managed"]),
    default="self-managed",
    show_default=True,
    help="Who enrolls devices: users themselves or only administrators.",
)
@click.option("--first-sign-in", is_flag=True, help="Let users change their password before they have a device.")
@click.option("--user-paths", is_flag=True, help="Support users with a path, such as /team/.")
@click.option("--own-names", is_flag=True, help="Let users create only devices that have their user name.")
@click.option(
    "--require-certification",
    "certification",
    type=click.Choice([str(level) for level in Certification], case_sensitive=False),
    help="Deny security keys with a lower FIDO certification, or with none.",
)
@click.option("--fips", is_flag=True, help="Deny security keys without a FIPS 140 certification.")
@click.option(
    "--partition", metavar="NAME", help="AWS partition: aws, aws-us-gov, aws-cn ... [default: from the region]."
)
def show_policy(
    *,
    variant: str,
    first_sign_in: bool,
    user_paths: bool,
    own_names: bool,
    certification: str | None,
    fips: bool,
    partition: str | None,
    settings: Settings,
    output: Output,
) -> None:
    """Print a policy that requires MFA: the JSON on stdout, and an explanation of each line on stderr."""
    choices = PolicyChoices(
        partition=wiring.audit.chosen_partition(settings, partition) or "aws",
        variant=Variant(variant),
        first_sign_in=first_sign_in,
        user_paths=user_paths,
        own_names=own_names,
        certification=Certification(certification) if certification else None,
        fips=fips,
    )
    document, lines = mfa_policy(choices)
    for line in (*lines, first_sign_in_line(choices)):
        settings.progress.note(f"{line.text}: {line.why}")
    output.text(json.dumps(document, indent=2) + "\n")


@click.command("org-role", cls=Verb)
@click.option("--hub", metavar="ARN", help="The role, user or account root that may assume the roles.")
@click.option("--organization", metavar="ID", help="The ID of the organization, such as o-a1b2c3d4e5.")
@click.option("--enroll", is_flag=True, help="Also create the role that enrolls and removes devices.")
@click.option("--require-mfa", is_flag=True, help="Allow the roles to be assumed only with MFA.")
@click.option(
    "--users",
    metavar="PATTERN",
    default="user/*",
    show_default=True,
    help="The users whose devices may be changed, such as user/staff/*.",
)
def org_role(
    *,
    hub: str | None,
    organization: str | None,
    enroll: bool,
    require_mfa: bool,
    users: str,
    settings: Settings,
    output: Output,
) -> None:
    """Print the roles that mfa-kit needs in each account of an organization, as a CloudFormation template.

    The template is printed on stdout, and an explanation of its lines on stderr. The options set the defaults of the
    template's parameters.
    """
    choices = OrgRoleChoices(hub=hub, organization=organization, enroll=enroll, require_mfa=require_mfa, users=users)
    template, lines = org_role_template(choices, text=wiring.files.packaged_text("policy/org_role.yaml"))
    for line in lines:
        settings.progress.note(f"{line.text}: {line.why}")
    output.text(template)


def read_policy(file: Path) -> str:
    """Return the text of a policy; `-` is stdin. Raise UsageFault if the file cannot be read or is not a policy."""
    try:
        with contextlib.nullcontext(sys.stdin) if str(file) == "-" else file.open(encoding="utf-8") as source:
            text = source.read(LONGEST + 1)
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}", "name a policy file, or - for stdin") from None
    except UnicodeDecodeError:
        raise UsageFault(
            f"{file} is not an IAM policy: it is not UTF-8", suggest("to see a valid policy", "policy show")
        ) from None
    if len(text) > LONGEST:
        raise UsageFault(
            f"{file} is not an IAM policy: it is larger than {LONGEST >> 20} MiB",
            suggest("to see a valid policy", "policy show"),
        )
    find_traps(text)  # raises UsageFault if the text is not a policy
    return text


@click.command(cls=Verb)
@click.argument("policy_file", metavar="[FILE]", type=POLICY_FILE, required=False)
@click.option("--on", type=click.Choice(["group", "user", "role"]), help="What FILE is or will be attached to.")
@SNAPSHOT
@MAX_AGE
def lint(
    *,
    policy_file: Path | None,
    on: str | None,
    file: Path | None,
    max_age: float,
    settings: Settings,
    output: Output,
) -> int:
    """Find the traps in the policy in FILE (- is stdin), or in all of the account's policies that mention MFA."""
    if policy_file is not None:
        partition = wiring.audit.chosen_partition(settings, None)
        traps = find_traps(read_policy(policy_file), on=Holder(on) if on else None, partition=partition)
        return _write([(str(policy_file), traps)], output)
    source = wiring.audit.SnapshotSource(file=file, max_age=max_age)
    snapshot = wiring.audit.snapshot_of_account(settings, source)
    policy_traps = account_traps(snapshot)
    note_unread_users(snapshot, settings.progress)
    return _write(policy_traps, output)


def _write(linted: Sequence[tuple[str, Sequence[Trap]]], output: Output) -> int:
    """Print the traps of each policy, with the policy's name. Return the exit code: 1 if there are any, otherwise 0."""
    rows = [
        {"policy": where, "statement": trap.statement, "trap": trap.name, "what": trap.what, "instead": trap.instead}
        for where, traps in linted
        for trap in traps
    ]
    empty = f"no traps found; policies checked: {len(linted)}"
    output.many("policy-lint", rows, empty=empty, below=("what", "instead"))
    return 1 if rows else 0


class TriedAccount(NamedTuple):
    """The result of trying a policy in one account.

    `users` is the number of users with a credential, and `shut` that of the users who would or might be locked out.
    `states` counts the credentials by what would happen to them. `unread` has a text for each part of the account that
    could not be read, and that may contain more users. `has_help` is false if no administrator would still have access.
    """

    label: str
    users: int
    shut: int
    states: Counter[AccessState]
    unread: Sequence[str]
    has_help: bool


@click.command(cls=Verb)
@click.option(
    "--policy",
    "document",
    type=POLICY_FILE,
    metavar="FILE",
    help="Policy to try [default: the policy that `policy show` prints].",
)
@click.option("--group", metavar="NAME", help="Try the policy on the users of this group [default: all users].")
@click.option("--self-enroll", is_flag=True, help="Users who can still sign in and enroll do not count as locked out.")
@click.option("--all", "everybody", is_flag=True, help="Also list users for whom nothing would change.")
@SNAPSHOT
@MAX_AGE
@account_options(results=False, in_one=("file",))
def lockout(
    *,
    document: Path | None,
    group: str | None,
    self_enroll: bool,
    everybody: bool,
    file: Path | None,
    max_age: float,
    accounts: AccountsChoice | None,
    settings: Settings,
    output: Output,
) -> int:
    """List users who would lose access if a policy were attached today. The exit code is 6 if there are any."""
    text = read_policy(document) if document else None
    source = wiring.audit.SnapshotSource(
        file=file,
        max_age=max_age,
        passwords_of=may_have_to_change,
        afresh=lambda user: group in user.user.groups,
    )
    tried: list[TriedAccount] = []
    hidden = frozenset[AccessState]() if everybody else UNCHANGED
    with wiring.audit.open_snapshots(settings, source, accounts) as snapshots:

        def read(account: OrgAccount) -> AccountRows:
            snapshot = snapshots.take(account)
            accesses = access_with(snapshot, text or force_mfa(snapshot.partition), group=group)
            tried.append(_tried_account(account.label, accesses, snapshot, self_enroll=self_enroll))
            shown = [access for access in accesses if access.state not in hidden]
            rows = _access_rows(shown, account=account.id if accounts else None, already=output.form != "table")
            return AccountRows(rows, tried[-1].unread)

        visits = print_rows(snapshots, read, FORM, progress=settings.progress, output=output)
        if snapshots.organization:
            policy = text or force_mfa(snapshots.organization.caller.partition)
            _compare(policy, wiring.audit.account_source(snapshots.organization.home), settings.progress)
    settings.progress.note(_totals(tried))
    _refuse(tried, is_many=accounts is not None)
    return exit_code(visits, findings=False)


def _tried_account(
    label: str, accesses: Sequence[UserAccess], snapshot: Snapshot, *, self_enroll: bool
) -> TriedAccount:
    shut = locked_out(accesses, self_enroll=self_enroll)
    return TriedAccount(
        label=label,
        users=len({access.user for access in accesses}),
        shut=len(shut),
        states=Counter(access.state for access in accesses),
        unread=unread_users(snapshot),
        has_help=not shut or bool(administrators_left(accesses, snapshot)),
    )


def _totals(tried: Sequence[TriedAccount]) -> str:
    """Return how many users and credentials the accounts have, and how many credentials are in each state."""
    states = sum((account.states for account in tried), Counter[AccessState]())
    totals = ", ".join(f"{state}: {states[state]}" for state in AccessState if states[state])
    users = count_of(sum(account.users for account in tried), "user")
    return f"{users}, {count_of(states.total(), 'credential')}; {totals or 'none'}"


def _refuse(tried: Sequence[TriedAccount], *, is_many: bool) -> None:
    """Raise Lockout if a user would be locked out, or if some users could not be read and may be locked out."""
    hint = "do what the column FIRST says for each of them, then run this again"
    if shut := [account for account in tried if account.shut]:
        users = sum(account.shut for account in shut)
        if is_many:
            who = f"{count_of(users, 'user')} in {count_of(len(shut), 'account')}"
            raise Lockout(f"{who} would (or might) be locked out", hint)
        error = Lockout(f"{users} of {shut[0].users} users would (or might) be locked out", hint)
        if not shut[0].has_help:
            error.add_note("no administrator would still have access, so no one could help these users")
        raise error
    for account in tried:
        if account.unread:
            why = f"account {account.label}: {account.unread[0]}" if is_many else account.unread[0]
            raise Lockout(
                f"some users may not have been checked, because this could not be read: {why}",
                "get the missing permission (docs/permissions.md), then run this again",
            )


def _access_rows(accesses: Sequence[UserAccess], *, account: str | None, already: bool) -> list[ResultRow]:
    """Return a row for each way in which a user gets access: a console password or access keys.

    With the ID of an account as `account`, the commands in the rows name it. Without `already`, the rows do not have
    the cell that says whether today's policies lock the user out.
    """
    return [
        {
            "user": access.user,
            "way": access.way,
            "standing": access.state,
            "why": access.why,
            "first": (in_account(access.first, account) if access.first and account else access.first) or None,
            **({"already": access.already} if already else {}),
        }
        for access in accesses
    ]


def _compare(document: str, account: AccountSource, progress: LiveProgress) -> None:
    """Print whether IAM's policy simulator and mfa-kit evaluate the policy in the same way."""
    with progress.showing("comparing with IAM's policy simulator"):
        compared = compare_with_simulator(document, account)
    if compared.why_not:
        progress.note(f"not compared with IAM's policy simulator: {compared.why_not}")
    elif not compared.differing:
        progress.note("IAM's policy simulator agrees with mfa-kit")
    for difference in compared.differing:
        progress.note(f"IAM's policy simulator disagrees: {difference}")


@click.command(cls=Verb)
@click.option("--user", metavar="NAME", help="Set up one new colleague instead of the whole account.")
@click.option("--group", metavar="NAME", help="The group that the new colleague joins.")
@click.option("--admin", metavar="NAME", default="admin", show_default=True, help="Name of the first administrator.")
@click.option(
    "--root-ceremony",
    is_flag=True,
    help="Print how several people give root two devices that no one can use alone.",
)
@SNAPSHOT
@MAX_AGE
def onboard(
    *,
    user: str | None,
    group: str | None,
    admin: str,
    root_ceremony: bool,
    file: Path | None,
    max_age: float,
    settings: Settings,
    output: Output,
) -> None:
    """Print the commands that set up MFA, in an order that locks no user out. Read them, then run them yourself."""
    if (user is None) != (group is None):
        raise UsageFault("--user and --group must be given together", "give both: --user NAME --group GROUP")
    if root_ceremony and user is not None:
        raise UsageFault(
            "--root-ceremony cannot be used with --user", "omit --user and --group, or omit --root-ceremony"
        )
    source = wiring.audit.SnapshotSource(file=file, max_age=max_age, central_root=root_ceremony)
    snapshot = wiring.audit.snapshot_of_account(settings, source)
    if root_ceremony:
        letter = ceremony(snapshot, text=wiring.files.packaged_text("policy/root_ceremony.md"))
        todo = [
            SetupStep(what=step.text, why=section.title, state=StepState.TO_DO, commands=step.commands)
            for section in letter.sections
            for step in section.steps
        ]
        _print_steps("policy-onboard", todo, letter_text(letter), output)
        return
    if user is not None and group is not None:
        steps = colleague_steps(snapshot, user, group)
    else:
        steps = account_steps(snapshot, admin=admin)
    note_unread_users(snapshot, settings.progress)
    _print_steps("policy-onboard", steps, _script(steps), output)


def _script(steps: Sequence[SetupStep]) -> str:
    return printable(shell_script(steps)) + "\n"


def _print_steps(schema: str, steps: Sequence[SetupStep], text: str, output: Output) -> None:
    """Print the text of the steps. If the output form is not a table, print a row for each step."""
    if output.form == "table":
        output.text(text)
        return
    rows: list[ResultRow] = [
        {"step": number, "what": step.what, "why": step.why, "state": step.state, "commands": step.commands}
        for number, step in enumerate(steps, 1)
    ]
    output.many(schema, rows, empty="")


@click.command(cls=Verb)
@click.argument("user")
@SNAPSHOT
@MAX_AGE
def offboard(*, user: str, file: Path | None, max_age: float, settings: Settings, output: Output) -> None:
    """Print the commands that end USER's access, reversible ones first. Read them, then run them yourself."""
    source = wiring.audit.SnapshotSource(
        file=file, max_age=max_age, afresh=lambda account_user: account_user.name.lower() == user.lower()
    )
    snapshot = wiring.audit.snapshot_of_account(settings, source)
    steps = offboard_steps(snapshot, user)
    note_unread_users(snapshot, settings.progress)
    _print_steps("policy-offboard", steps, _script(steps), output)
