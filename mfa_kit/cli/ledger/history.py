"""The options and rows of the commands that print the ledger.

The ledger is mfa-kit's own record, so it is not evidence. CloudTrail is evidence, and has the same request IDs.
"""

from dataclasses import asdict

import click

from mfa_kit import wiring
from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.value_types import Moment
from mfa_kit.core.timestamps import iso_time
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
