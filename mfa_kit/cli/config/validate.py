"""`mfa-kit config validate`: check the configuration file."""

import click

from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.wiring import config
from mfa_kit.wiring.backup_recipients import configured_recipients
from mfa_kit.wiring.ledger import check_address
from mfa_kit.wiring.plugins import check_configured_plugins


@click.command(cls=Verb)
def validate(*, output: Output) -> None:
    """Check the configuration file: permissions, keys, plugins and recipients."""
    plugins, recipients = check_configured_plugins(), configured_recipients()
    if ledger := config.load().ledger:
        check_address(ledger)
    path = config.path()
    row: ResultRow = {
        "path": str(path),
        "exists": path.exists(),
        "valid": True,
        "recipients": len(recipients),
        "age_plugins": plugins,
    }
    output.one("config-validate", row)
