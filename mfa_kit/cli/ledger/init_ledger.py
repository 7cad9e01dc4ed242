"""`mfa-kit ledger init`: create the ledger in a PostgreSQL database."""

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.value_types import Age
from mfa_kit.wiring.settings import Settings


@click.command("init", cls=Verb)
@click.option(
    "--grace",
    type=Age(),
    metavar="AGE",
    help="How long a run stays reserved for its computer after the database server restarts [60s].",
)
def init_ledger(*, grace: float | None, settings: Settings, output: Output) -> None:
    """Create the ledger in a PostgreSQL database. Your database role becomes the owner.

    If the ledger exists, it is brought up to date.
    """
    output.one("ledger-init", {"applied": wiring.shared_ledger.create_ledger(settings, grace=grace)})
