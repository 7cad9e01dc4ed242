"""`mfa-kit doctor`: find problems with this computer's setup, and with mfa-kit's access to many accounts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from mfa_kit import wiring
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.environment import given
from mfa_kit.cli.messages import find_progress
from mfa_kit.cli.options import Verb
from mfa_kit.cli.visits import AccountRows, RowsForm, exit_code, print_rows
from mfa_kit.doctor.checks import diagnose_account
from mfa_kit.doctor.diagnosis import Health
from mfa_kit.organization.accounts import AUDIT_ROLE, AccountsChoice, OrgAccount, in_account

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.wiring.settings import Settings

FORM = RowsForm(
    "doctor",
    fields=("check", "health", "found", "hint"),
    narrow_in_many=("check", "health", "found"),
    empty="",
    schema_in_many="doctor-account",
)


@click.command(cls=Verb)
@account_options(results=False)
def doctor(*, accounts: AccountsChoice | None, read_settings: Callable[[], Settings], output: Output) -> int:
    """Check credentials, clock, permissions, folders and terminal. The exit code is 1 if something is wrong.

    With several accounts, check only that mfa-kit can access each account, read whether its root user has MFA, and list
    its virtual devices.
    """
    if accounts is not None:
        return _diagnose_accounts(accounts, read_settings(), output)
    with find_progress(plain=given().plain, quiet=given().quiet).showing("checking"):
        diagnoses = list(wiring.doctor.diagnose_computer(read_settings))
    rows = [
        {"check": diagnosis.what, "state": diagnosis.health, "found": diagnosis.found, "hint": diagnosis.hint or None}
        for diagnosis in diagnoses
    ]
    output.many("doctor", rows, empty="", below=("hint",))
    return int(any(diagnosis.health is Health.BAD for diagnosis in diagnoses))


def _diagnose_accounts(accounts: AccountsChoice, settings: Settings, output: Output) -> int:
    """Check mfa-kit's access to each account. Return the exit code: 1 if any account has a problem, otherwise 0."""
    # The default role is for audits. Any other role is taken to be for enrolling, so permissions that only an audit
    # needs are not required.
    enrolls = accounts.role_name != AUDIT_ROLE
    with wiring.organization.open_organization(settings, accounts) as organization:

        def read(account: OrgAccount) -> AccountRows:
            opened = organization.enter(account)
            return AccountRows(
                [
                    {
                        "check": diagnosis.what,
                        "health": diagnosis.health,
                        "found": diagnosis.found,
                        "hint": in_account(diagnosis.hint, account.id) or None,
                    }
                    for diagnosis in diagnose_account(
                        opened.iam,
                        wiring.audit.account_source(opened.iam),
                        opened.caller,
                        enrolls=enrolls,
                    )
                ]
            )

        visits = print_rows(organization, read, FORM, progress=settings.progress, output=output)
    rows = [row for visit in visits if visit.found for row in visit.found.rows]
    return exit_code(visits, findings=any(row["health"] is Health.BAD for row in rows))
