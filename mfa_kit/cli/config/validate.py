"""`mfa-kit config validate`: check the configuration file."""

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow


@click.command(cls=Verb)
def validate(*, output: Output) -> None:
    """Check the configuration file: its permissions, settings, plugins and recipients, and the ledger's address."""
    plugins, recipients = wiring.plugins.check_configured_plugins(), wiring.backup_recipients.configured_recipients()
    if ledger := wiring.config.load().ledger:
        wiring.ledger.check_address(ledger)
    path = wiring.config.path()
    row: ResultRow = {
        "path": str(path),
        "exists": path.exists(),
        "valid": True,
        "recipients": len(recipients),
        "age_plugins": plugins,
    }
    output.one("config-validate", row)
