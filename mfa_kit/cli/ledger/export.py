"""`mfa-kit ledger export`: print the ledger as JSON Lines."""

import click

from mfa_kit.cli.ledger import history
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.wiring.settings import Settings


@click.command(cls=Verb)
@history.USER
@history.SINCE
def export(*, user: str | None, since: float, settings: Settings, output: Output) -> None:
    """Print the ledger as JSON Lines. For a call to AWS, `reference` is its requestID in CloudTrail."""
    output._replace(form="jsonl").many("ledger", history.history_rows(settings, user, since), empty="")
