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
            diagnoses = list(
                wiring.account_diagnosis.diagnose_account(
                    opened.iam, opened.caller, enrolls=accounts.role_name != AUDIT_ROLE
                )
            )
            wrong.extend(diagnosis.what for diagnosis in diagnoses if diagnosis.health is wiring.diagnosis.Health.BAD)
            return AccountRows([_row(diagnosis, opened.account.id) for diagnosis in diagnoses])

        visits = print_rows(organization, read, ROWS, progress=settings.progress, output=output)
    return exit_code(visits, findings=bool(wrong))


def _row(diagnosis: "wiring.diagnosis.Diagnosis", account: str) -> ResultRow:
    hint = in_account(diagnosis.hint, account) or None
    return {"check": diagnosis.what, "health": diagnosis.health, "found": diagnosis.found, "hint": hint}
