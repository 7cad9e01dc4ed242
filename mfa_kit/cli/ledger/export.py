"""`mfa-kit ledger export`."""

import click

from mfa_kit.cli.ledger import history
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output


@click.command(cls=Verb)
@history.USER
@history.SINCE
def export(*, user: str | None, since: float) -> None:
    """Write the same as JSON lines, to be matched with CloudTrail's requestID."""
    Output("jsonl").many("ledger", history.history_rows(user, since), empty="")
