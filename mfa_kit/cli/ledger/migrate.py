"""`mfa-kit ledger migrate`: bring the ledger in PostgreSQL up to date."""

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb)
def migrate(*, settings: Settings, output: Output) -> None:
    """Bring the ledger in PostgreSQL up to date with this version of mfa-kit. Only the ledger's owner can do this."""
    output.one("ledger-migrate", {"applied": wiring.shared_ledger.migrate_ledger(settings)})
