"""`mfa-kit policy lockout` in many accounts."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mfa_kit import wiring
from mfa_kit.account.snapshot import unread_users
from mfa_kit.cli.account_options import no_snapshot_of_many
from mfa_kit.cli.organization.rows import AccountRows, RowsOfAccounts, print_rows
from mfa_kit.cli.organization.visits import exit_code
from mfa_kit.cli.output import Output
from mfa_kit.cli.policy.access_rows import UNCHANGED, access_row, compared_lines, locked_out
from mfa_kit.cli.policy.policy_file import read_policy
from mfa_kit.core.errors import Lockout
from mfa_kit.core.text import count_of
from mfa_kit.organization.selecting import AccountsChoice
from mfa_kit.organization.wording import in_account
from mfa_kit.policy.lockout import access_with, may_have_to_change
from mfa_kit.policy.texts import force_mfa
from mfa_kit.wiring.settings import Settings

ROWS = RowsOfAccounts(
    schema="policy-lockout-account",
    fields=("user", "way", "standing", "why", "first", "already"),
    narrow=("user", "way", "standing", "first"),
    empty="no user would be locked out",
)


def try_in_accounts(
    *,
    document: Path | None,
    group: str | None,
    self_enroll: bool,
    everybody: bool,
    file: Path | None,
    max_age: float,
    accounts: AccountsChoice,
    settings: Settings,
    output: Output,
) -> int:
    """List, in many accounts, the users who would be locked out. Return the exit code.

    Raise Lockout if there are any, or if some users could not be read and may be locked out.
    """
    no_snapshot_of_many(file)
    text = read_policy(document) if document else None
    shut: Counter[str] = Counter()
    unread: list[str] = []
    source = wiring.audit.SnapshotSource(
        file=None,
        max_age=max_age,
        passwords_of=may_have_to_change,
        afresh=lambda user: group in user.user.groups,
    )
    with wiring.organization.open_organization(settings, accounts) as organization:

        def read(opened: "wiring.organization.OpenAccount") -> AccountRows:
            snapshot = wiring.audit.take_snapshot(settings, opened, organization, source)
            accesses = access_with(snapshot, text or force_mfa(snapshot.partition), group=group)
            shut[opened.account.label] += len(locked_out(accesses, self_enroll=self_enroll))
            missing = unread_users(snapshot)
            unread.extend(f"account {opened.account.label}: {why}" for why in missing)
            rows = [
                {**access_row(access), "first": in_account(access.first, opened.account.id) if access.first else None}
                for access in accesses
                if everybody or access.state not in UNCHANGED
            ]
            return AccountRows(rows, missing)

        visits = print_rows(organization, read, ROWS, progress=settings.progress, output=output)
        with settings.progress.showing("comparing with IAM's policy simulator"):
            tried = text or force_mfa(organization.caller.partition)
            compared = compared_lines(tried, wiring.audit.account_source(organization.home))
        for line in compared:
            settings.progress.note(line)
    _refuse(shut, unread)
    return exit_code(visits, findings=False)


def _refuse(shut: Counter[str], unread: Sequence[str]) -> None:
    """Raise Lockout if a user of any account would be locked out, or if some users could not be read.

    `shut` has, by account, the number of users who would be locked out. `unread` has a text for each part of an
    account that could not be read, and that may contain users who are not counted in `shut`.
    """
    if total := shut.total():
        where = [label for label, number in shut.items() if number]
        raise Lockout(
            f"{count_of(total, 'user')} in {count_of(len(where), 'account')} would (or might) be locked out",
            "do what the column FIRST says for each of them, then run this again",
        )
    if unread:
        raise Lockout(
            f"some users may not have been checked, because this could not be read: {unread[0]}",
            "get the missing permission (docs/permissions.md), then run this again",
        )
