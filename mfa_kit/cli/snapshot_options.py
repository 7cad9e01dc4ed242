"""Options of commands that read an account, and notes about the parts of the account that could not be read."""

from pathlib import Path

import click

from mfa_kit.account.snapshot import Snapshot, unread_users
from mfa_kit.cli.value_types import Age
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Progress

SNAPSHOT = click.option(
    "--snapshot",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read this snapshot instead of AWS. If FILE does not exist, it is created from AWS with mode 0600.",
)
MAX_AGE = click.option(
    "--max-age",
    type=Age(),
    default="4h",
    show_default=True,
    help="Request a new credential report if the last is older than AGE, and refuse an older one. IAM makes at most "
    "one in 4 hours.",
)


def note_unread_users(snapshot: Snapshot, progress: Progress) -> None:
    """Print each part of the account that could not be read, because its users may be missing from the result."""
    for why in unread_users(snapshot):
        progress.alert(f"not read: {why}")


def no_snapshot_of_many(file: Path | None) -> None:
    """Raise UsageFault if --snapshot is given to a command that works in many accounts: a snapshot has one account."""
    if file is not None:
        raise UsageFault(
            "--snapshot can be used only with one account", "to write a snapshot of each account: --output-dir DIR"
        )
