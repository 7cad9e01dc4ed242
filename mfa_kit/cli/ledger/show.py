"""`mfa-kit ledger show` and `export`: what mfa-kit did, as the ledger recorded it."""

from dataclasses import asdict

import click

from mfa_kit import wiring
from mfa_kit.cli.options import Verb
from mfa_kit.cli.output import Output
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.value_types import Moment
from mfa_kit.core.text import iso_time
from mfa_kit.wiring.settings import Settings

USER = click.option("--user", metavar="NAME", help="Only show this user.")
SINCE = click.option(
    "--since", type=Moment(), default=0.0, help="Start time, such as 2026-11-25, or 7d for the last 7 days."
)


def history_rows(settings: Settings, user: str | None, since: float) -> list[ResultRow]:
    """Return a row for each event of a user, or of all users if `user` is None, oldest first.

    `since` is the Unix time at which the list begins. The field `at` is ISO 8601 in UTC. Only the rows of a shared
    ledger have the field `computer`.
    """
    shared = settings.ledger is not None
    rows = ({**asdict(event), "at": iso_time(event.at)} for event in wiring.ledger.history(settings, user, since))
    return [{name: cell for name, cell in row.items() if shared or name != "computer"} for row in rows]


@click.command("show", cls=Verb)
@USER
@SINCE
def show_ledger(*, user: str | None, since: float, settings: Settings, output: Output) -> None:
    """Show calls to AWS, uses of backups, and the progress of each run."""
    output.many(
        "ledger",
        history_rows(settings, user, since),
        empty="no entries",
        narrow=("at", "what", "answer", "user", "device", "computer"),
    )


@click.command(cls=Verb)
@USER
@SINCE
def export(*, user: str | None, since: float, settings: Settings, output: Output) -> None:
    """Print the ledger as JSON Lines. For a call to AWS, `reference` is its requestID in CloudTrail."""
    output._replace(form="jsonl").many("ledger", history_rows(settings, user, since), empty="")
