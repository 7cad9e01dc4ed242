"""`mfa-kit status` in many accounts. It reads the same snapshot as an audit, without calls for single users."""

from mfa_kit import wiring
from mfa_kit.account.account_users import AccountUser, account_users
from mfa_kit.account.snapshot import SnapshotPart, unread_parts
from mfa_kit.cli.organization.rows import AccountRows, RowsOfAccounts, print_rows
from mfa_kit.cli.organization.visits import exit_code
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import Device
from mfa_kit.core.timestamps import iso_time
from mfa_kit.organization.across import VisitState
from mfa_kit.organization.selecting import AccountsChoice
from mfa_kit.wiring.settings import Settings

ROWS = RowsOfAccounts(
    schema="status-account",
    fields=("user", "kind", "device", "since"),
    narrow=("user", "kind", "device", "since"),
    empty="these accounts have no users",
)


def status_in_accounts(
    *,
    user: str | None,
    max_age: float,
    accounts: AccountsChoice,
    settings: Settings,
    output: Output,
    **of_one_account: object,
) -> int:
    """List the users of many accounts with their devices. Return the exit code: 1 if users may be missing.

    Raise UsageFault if `user`, --backup-dir or --each-user is given, because these need a single account.
    `of_one_account` has the options that `status` uses only in a single account.
    """
    alone = {"--backup-dir": of_one_account["backup_dir"], "--each-user": of_one_account["each_user"]}
    if user or any(alone.values()):
        option = f"USER ({user})" if user else next(name for name, argument in alone.items() if argument)
        raise UsageFault(
            f"{option} cannot be used with several accounts",
            "leave it out, or run the command without --accounts and --org",
        )
    source = wiring.audit.SnapshotSource(file=None, max_age=max_age)
    with wiring.organization.open_organization(settings, accounts) as organization:

        def read(opened: "wiring.organization.OpenAccount") -> AccountRows:
            snapshot = wiring.audit.take_snapshot(settings, opened, organization, source)
            rows = [row for account_user in account_users(snapshot) for row in _user_rows(account_user)]
            return AccountRows(rows, unread_parts(snapshot, SnapshotPart.DETAILS))

        visits = print_rows(organization, read, ROWS, progress=settings.progress, output=output)
    return exit_code(visits, findings=any(visit.state is VisitState.PARTLY for visit in visits))


def _user_rows(account_user: AccountUser) -> list[ResultRow]:
    """Return a row for each device of a user, or one row if the user has no device or the devices are unknown."""
    return [_row(account_user, device) for device in account_user.devices] or [_row(account_user, None)]


def _row(account_user: AccountUser, device: Device | None) -> ResultRow:
    without = "none" if account_user.mfa is False else "unknown"
    return {
        "user": account_user.name,
        "kind": device.type if device else without,
        "device": device.serial if device else None,
        "since": iso_time(device.since) if device and device.since else None,
    }
