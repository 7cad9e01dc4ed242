"""`mfa-kit orphans list`: list unassigned devices, and which of them `orphans clean` would remove."""

import click

from mfa_kit import wiring
from mfa_kit.cli import options
from mfa_kit.cli.account_options import account_options
from mfa_kit.cli.orphans.orphan_row import OLDER_THAN, orphan_row
from mfa_kit.cli.output import Output
from mfa_kit.enrollment.orphans import find_orphans, find_waiting
from mfa_kit.wiring.settings import Settings


@click.command("list", cls=options.Verb)
@OLDER_THAN
@account_options(results=False)
def list_orphans(*, older_than: float, settings: Settings, output: Output) -> int:
    """List unassigned devices: who created them, how old they are, and whether `orphans clean` would remove them."""
    with wiring.ports.open_ports(settings, store=wiring.stores.open_vault(settings)) as (ports, caller):
        with settings.progress.showing("reading unassigned devices"):
            orphans = find_orphans(ports=ports)
            orphans += find_waiting(caller.account, orphans, ports=ports)
        now = ports.iam_reader.now()
        rows = [orphan_row(orphan, older_than=older_than, now=now) for orphan in orphans]
        output.many(
            "orphans-list",
            rows,
            empty="every device is assigned",
            narrow=("device", "standing", "user", "since", "clean"),
        )
    return 0
