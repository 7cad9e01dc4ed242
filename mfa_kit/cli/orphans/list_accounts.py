"""`mfa-kit orphans list` in many accounts."""

from mfa_kit import wiring
from mfa_kit.cli.organization.rows import AccountRows, RowsOfAccounts, print_rows
from mfa_kit.cli.organization.visits import exit_code
from mfa_kit.cli.orphans.orphan_row import orphan_row
from mfa_kit.cli.output import Output
from mfa_kit.enrollment.orphans import find_orphans, find_waiting
from mfa_kit.organization.selecting import AccountsChoice
from mfa_kit.wiring.settings import Settings

ROWS = RowsOfAccounts(
    schema="orphans-list-account",
    fields=("device", "standing", "user", "since", "run", "key", "clean"),
    narrow=("device", "standing", "since"),
    empty="every device is assigned",
)


def list_accounts(*, older_than: float, accounts: AccountsChoice, settings: Settings, output: Output) -> int:
    """List the unassigned devices of many accounts. Return the exit code. `older_than` is in seconds."""
    with wiring.organization.open_organization(settings, accounts) as organization:

        def read(opened: "wiring.organization.OpenAccount") -> AccountRows:
            ports = wiring.ports.enrollment_ports(
                settings, iam=opened.iam, ledger=organization.ledger, store=wiring.stores.open_vault(settings)
            )
            orphans = find_orphans(ports=ports)
            orphans += find_waiting(opened.caller.account, orphans, ports=ports)
            now = opened.iam.now()
            return AccountRows([orphan_row(orphan, older_than=older_than, now=now) for orphan in orphans])

        visits = print_rows(organization, read, ROWS, progress=settings.progress, output=output)
    return exit_code(visits, findings=False)
