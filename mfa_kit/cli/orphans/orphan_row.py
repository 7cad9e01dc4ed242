"""The result row of an unassigned device, and the option for the minimum age at which it is removed."""

import click

from mfa_kit.cli.results import ResultRow
from mfa_kit.cli.value_types import Age
from mfa_kit.core.timestamps import iso_time
from mfa_kit.enrollment.orphans import Orphan

OLDER_THAN = click.option(
    "--older-than",
    type=Age(),
    default="24h",
    show_default=True,
    help="Minimum age at which devices of other computers are removed.",
)


def orphan_row(orphan: Orphan, *, older_than: float, now: float) -> ResultRow:
    """Return the row of one device. `older_than` is the value of --older-than in seconds; `now` is in Unix seconds."""
    return {
        "device": orphan.serial,
        "standing": orphan.standing,
        "user": orphan.user,
        "since": iso_time(orphan.since) if orphan.since is not None else None,
        "run": orphan.run,
        "key": orphan.key,
        "clean": "removes it" if orphan.goes(older_than=older_than, now=now) else "leaves it",
    }
