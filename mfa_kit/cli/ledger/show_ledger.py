"""`mfa-kit ledger show`: show what mfa-kit did, as the ledger recorded it."""

import click

from mfa_kit.cli.ledger import history
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.wiring.settings import Settings


@click.command("show", cls=Verb)
@history.USER
@history.SINCE
def show_ledger(*, user: str | None, since: float, settings: Settings, output: Output) -> None:
    """Show calls to AWS, uses of backups, and the progress of each run."""
    output.many(
        "ledger",
        history.history_rows(settings, user, since),
        empty="no entries",
        narrow=("at", "what", "answer", "user", "device", "computer"),
    )
