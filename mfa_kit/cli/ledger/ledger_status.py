"""`mfa-kit ledger status`: show the state of the ledger in PostgreSQL."""

from dataclasses import asdict

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.core.timestamps import iso_time
from mfa_kit.wiring.settings import Settings


@click.command("status", cls=Verb)
def ledger_status(*, settings: Settings, output: Output) -> None:
    """Show the state of the ledger in PostgreSQL, and your database role."""
    state = wiring.shared_ledger.ledger_state(settings)
    output.one("ledger-status", {**asdict(state), "now": iso_time(state.now)})
