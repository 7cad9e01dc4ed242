"""`mfa-kit ledger export`."""

import click

from mfa_kit.cli.ledger import history
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output


@click.command(cls=Verb)
@history.USER
@history.SINCE
def export(*, user: str | None, since: float) -> None:
    """Print the ledger as JSON Lines. `reference` is the requestID in CloudTrail."""
    Output("jsonl").many("ledger", history.history_rows(user, since), empty="")
