"""`mfa-kit policy lockout`: list users who would lose access if a policy were attached."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from mfa_kit import wiring
from mfa_kit.account.snapshot import Snapshot, unread_users
from mfa_kit.cli.account_options import MAX_AGE, SNAPSHOT, account_options, note_unread_users
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.policy.access_rows import UNCHANGED, access_row, compared_lines, locked_out
from mfa_kit.cli.policy.policy_file import POLICY_FILE, read_policy
from mfa_kit.core.errors import Lockout
from mfa_kit.core.text import count_of
from mfa_kit.policy.lockout import (
    AccessState,
    UserAccess,
    access_with,
    administrators_left,
    may_have_to_change,
)
from mfa_kit.policy.texts import force_mfa
from mfa_kit.wiring.settings import Settings


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
@account_options(results=False)
def lockout(
    *,
    document: Path | None,
    group: str | None,
    self_enroll: bool,
    everybody: bool,
    file: Path | None,
    max_age: float,
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
    with wiring.audit.open_snapshot(settings, source) as (snapshot, account):
        tried = text or force_mfa(snapshot.partition)
        accesses = access_with(snapshot, tried, group=group)
        with settings.progress.showing("comparing with IAM's policy simulator"):
            compared = compared_lines(tried, account)
    note_unread_users(snapshot, settings.progress)
    for line in compared:
        settings.progress.note(line)
    _write([access for access in accesses if everybody or access.state not in UNCHANGED], output)
    counts = Counter(access.state for access in accesses)
    totals = ", ".join(f"{state}: {counts[state]}" for state in AccessState if counts[state])
    users = len({access.user for access in accesses})
    settings.progress.note(f"{count_of(users, 'user')}, {count_of(len(accesses), 'credential')}; {totals or 'none'}")
    _refuse(snapshot, accesses, self_enroll=self_enroll)
    return 0


def _write(accesses: Sequence[UserAccess], output: Output) -> None:
    rows = [access_row(access) for access in accesses]
    if output.form == "table":
        rows = [{name: cell for name, cell in row.items() if name != "already"} for row in rows]
    output.many("policy-lockout", rows, empty="no user would be locked out", below=("why", "first"))


def _refuse(snapshot: Snapshot, accesses: Sequence[UserAccess], *, self_enroll: bool) -> None:
    """Raise Lockout if a user would be locked out, or if some users could not be read and may be locked out."""
    shut = locked_out(accesses, self_enroll=self_enroll)
    if shut:
        error = Lockout(
            f"{len(shut)} of {len({access.user for access in accesses})} users would (or might) be locked out",
            "do what the column FIRST says for each of them, then run this again",
        )
        if not administrators_left(accesses, snapshot):
            error.add_note("no administrator would still have access, so no one could help these users")
        raise error
    if why := unread_users(snapshot):
        raise Lockout(
            f"some users may not have been checked, because this could not be read: {why[0]}",
            "get the missing permission (docs/permissions.md), then run this again",
        )
