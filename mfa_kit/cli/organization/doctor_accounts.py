"""`mfa-kit doctor` in many accounts: check whether mfa-kit can open each account and read its devices."""

from collections.abc import Callable

from mfa_kit import wiring
from mfa_kit.cli.organization.rows import AccountRows, RowsOfAccounts, print_rows
from mfa_kit.cli.organization.visits import exit_code
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.organization.selecting import AUDIT_ROLE, AccountsChoice
from mfa_kit.organization.wording import in_account
from mfa_kit.wiring.settings import Settings

ROWS = RowsOfAccounts(
    schema="doctor-account",
    fields=("check", "health", "found", "hint"),
    narrow=("check", "health", "found"),
    empty="",
)


def diagnose_accounts(*, accounts: AccountsChoice, read_settings: Callable[[], Settings], output: Output) -> int:
    """Check mfa-kit's access to each account. Return the exit code: 1 if any account has a problem, otherwise 0."""
    wrong: list[str] = []
    settings = read_settings()
    with wiring.organization.open_organization(settings, accounts) as organization:

        def read(opened: "wiring.organization.OpenAccount") -> AccountRows:
            # The default role is for audits. Any other role is taken to be for enrolling, so permissions that only an
            # audit needs are not required.
            found = list(
                wiring.account_diagnosis.diagnose_account(
                    opened.iam, opened.caller, enrolls=accounts.role_name != AUDIT_ROLE
                )
            )
            wrong.extend(each.what for each in found if each.health is wiring.diagnosis.Health.BAD)
            return AccountRows([_row(each, opened.account.id) for each in found])

        visits = print_rows(organization, read, ROWS, progress=settings.progress, output=output)
    return exit_code(visits, findings=bool(wrong))


def _row(found: "wiring.diagnosis.Diagnosis", account: str) -> ResultRow:
    hint = in_account(found.hint, account) or None
    return {"check": found.what, "health": found.health, "found": found.found, "hint": hint}
