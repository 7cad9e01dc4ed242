"""Arguments and options that several commands of `mfa-kit rollout` share."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from mfa_kit.cli.backup_options import BACKUP_DIR, RECIPIENTS_FILE

F = TypeVar("F", bound=Callable[..., object])

PLAN_FILE = click.argument("plan_file", metavar="PLAN", type=Path)
# One plan, as a tuple with one path, for commands whose code also handles the several paths of PLAN_FILES.
ONE_PLAN_FILE = click.argument(
    "plan_files", metavar="PLAN", type=Path, callback=lambda _ctx, _param, value: (value,) if value else ()
)
PLAN_FILES = click.argument("plan_files", metavar="PLAN...", nargs=-1, required=True, type=Path)
WORKERS = click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Number of users processed at the same time.",
)
STAGE = click.option("--stage", "staged", is_flag=True, help="Create devices; `rollout activate` enables them later.")
ACCEPT_LOCKOUT = click.option(
    "--accept-lockout",
    is_flag=True,
    help="Also enroll users who have no public key. You must give them their secrets.",
)
MAX_FAILURES = click.option(
    "--max-failures", type=click.IntRange(0), metavar="N", help="Stop when more than N users have failed."
)
AT_ONCE = click.option(
    "--at-once",
    type=click.IntRange(1, 32),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of accounts in which this process works at the same time.",
)
WATCH = click.option(
    "--watch",
    is_flag=True,
    help="Show the progress of all workers, until all accounts are complete. This reads only the ledger.",
)
RESULTS = click.option(
    "--results", type=Path, metavar="DIR", help="Folder for results.csv, results.json and failed.csv [next to PLAN]."
)
EXPECTED = click.option(
    "--expect-sha256",
    "expected",
    multiple=True,
    metavar="HEX",
    help="Refuse PLAN if the SHA-256 of its file is not HEX.",
)
ONLY = click.option("--only", metavar="A,B", help="Only these users.")
GROUP = click.option("--group", "groups", multiple=True, metavar="NAME", help="Only users in this IAM group.")
RECIPIENT = click.option(
    "-r",
    "--recipient",
    "to",
    multiple=True,
    metavar="RECIPIENT",
    help="Encrypt each backup to this age or SSH public key too.",
)


def backup_options(function: F) -> F:
    """Add the options for the recipients and the folder of backups."""
    return RECIPIENT(RECIPIENTS_FILE(BACKUP_DIR(function)))


def split_names(only: str | None) -> list[str]:
    """Return the user names in `--only A,B`, or an empty list if the option was not given."""
    return [name.strip() for name in (only or "").split(",") if name.strip()]
