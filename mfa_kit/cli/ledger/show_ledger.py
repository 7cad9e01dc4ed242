"""`mfa-kit ledger show`."""

import click

from mfa_kit.cli.ledger import history
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output


@click.command("show", cls=Verb)
@history.USER
@history.SINCE
def show_ledger(*, user: str | None, since: float, output: Output) -> None:
    """Show calls to AWS, openings of backups, and how far each run came."""
    output.many("ledger", history.history_rows(user, since), empty="nothing yet")
